import { weightsOf } from "../model/front";
import { inWords, number } from "../model/text";
import type { ChoicePoint } from "../api/types";
import { prompt, questioned } from "../state/answers";
import { asPreference, objectives } from "../state/server";
import { startTalk, switchTo, talk, thinking, trouble } from "../state/talk";
import { edited } from "../state/tastes";
import { AnswerCard } from "./AnswerCard";
import { Snippets } from "./Snippets";
import { Verdict } from "./Verdict";

/** The page asks: two points of the front, the same prompt under both. Every answer moves the weights. */
export function Find() {
  const now = talk.value;
  return (
    <section id="answers" aria-labelledby="answers-title">
      <div class="heading">
        <h2 id="answers-title">{now?.done ? "Your taste" : now ? `Question ${now.choice.questions + 1}` : "Finding your taste"}</h2>
        {now && <button type="button" class="quiet" disabled={thinking.value} onClick={() => void startTalk()}>Start over</button>}
      </div>
      {trouble.value && <p class="card error" role="alert">{trouble.value}</p>}
      {!now && !trouble.value && <p class="card note pulse">Thinking of a question …</p>}
      {now?.question && (
        <>
          <div class="columns" data-count={2}>
            <AnswerCard letter="A" weights={weightsOf(now.question.a.preference, objectives.value)} column={questioned[0]} placeholder={<Sample point={now.question.a} />} />
            <AnswerCard letter="B" weights={weightsOf(now.question.b.preference, objectives.value)} column={questioned[1]} placeholder={<Sample point={now.question.b} />} />
          </div>
          <Verdict />
        </>
      )}
      {now?.done && <Done questions={now.choice.questions} probability={now.choice.probability} />}
      {now?.done && <Snippets prompt={prompt.value} letter="your taste" preference={asPreference(edited.value)} />}
    </section>
  );
}

/** What a point is like while there is no prompt: a text from when it was measured, or its rewards. */
function Sample({ point }: { point: ChoicePoint }) {
  const rewards = objectives.value.map((name) => `${name} ${number(point.rewards[name])}`).join(", ");
  return (
    <>
      {point.sample !== null && <p class="text">{point.sample}</p>}
      <p class="note">Measured rewards: {rewards}. {prompt.value.trim() ? "" : "Type a prompt to see what both answer."}</p>
    </>
  );
}

function Done({ questions, probability }: { questions: number; probability: number }) {
  return (
    <div class="card done">
      <p class="result">{inWords(edited.value, objectives.value)}</p>
      <p class="note">
        Found with {questions} answers; the chance that this is the best measured point for you is {Math.round(100 * probability)} %.
      </p>
      <button type="button" class="primary" onClick={() => switchTo("explore")}>Explore with these weights</button>
    </div>
  );
}
