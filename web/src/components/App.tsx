/** The page: a header, and what the state of the server allows. */
import { useEffect } from "preact/hooks";
import { keyWanted } from "../api/client";
import { askWhatToExpect } from "../state/expected";
import { model } from "../state/server";
import { narrow } from "../state/narrow";
import { mode } from "../state/tastes";
import { Explore } from "./Explore";
import { Find } from "./Find";
import { FrontCard } from "./FrontCard";
import { Header } from "./Header";
import { KeyForm } from "./KeyForm";
import { Loading } from "./Loading";
import { PromptCard } from "./PromptCard";
import { WeightsCard } from "./WeightsCard";

export function App() {
  useEffect(askWhatToExpect, []);
  const ready = model.value !== null;
  return (
    <>
      <Header />
      <main>
        {keyWanted.value !== "" && <KeyForm />}
        {!ready && keyWanted.value === "" && <Loading />}
        {ready && (
          <>
            <PromptCard />
            {narrow.value ? <Column /> : <Desk />}
          </>
        )}
      </main>
    </>
  );
}

const Answers = () => (mode.value === "explore" ? <Explore /> : <Find />);

function Desk() {
  return (
    <>
      <div class="steer">
        <WeightsCard />
        <FrontCard />
      </div>
      <Answers />
    </>
  );
}

/** What is touched and what it changes stand next to each other. */
function Column() {
  const asking = mode.value === "find";
  return (
    <>
      {asking && <Find />}
      <WeightsCard />
      {!asking && <Explore />}
      <FrontCard />
    </>
  );
}
