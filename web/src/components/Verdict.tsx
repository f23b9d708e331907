import { prompt, questioned } from "../state/answers";
import { reply, talk, thinking, type Verdict as Answer } from "../state/talk";
import { userNote } from "../state/user";

const ANSWERS: [Answer, string][] = [
  ["a", "A is better"],
  ["cant_tell", "Can't tell"],
  ["b", "B is better"],
];

/** The buttons of a question, once both answers can be judged. */
export function Verdict() {
  const writing = questioned.some(({ value: { state } }) => state === "waiting" || state === "writing");
  const off = writing || thinking.value || !talk.value?.question;
  return (
    <div class="verdict">
      <p id="verdict-title">{writing ? "Read both answers …" : "Which do you like better?"}</p>
      <div class="row" role="group" aria-labelledby="verdict-title">
        {ANSWERS.map(([answer, label]) => (
          <button type="button" key={answer} id={`verdict-${answer}`} disabled={off} onClick={() => void reply(answer)}>{label}</button>
        ))}
      </div>
      <p class="note">
        Every answer moves your weights; the bands on the sliders show how sure they are.{prompt.value.trim() ? "" : " You can judge the measured rewards, or type a prompt first."}
      </p>
      {userNote.value && <p class="note" role="status">{userNote.value}</p>}
    </div>
  );
}
