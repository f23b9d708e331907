import { busy, prompt, stopAll } from "../state/answers";
import { answerAll, answerDifferently } from "../state/explore";
import { mode } from "../state/tastes";
import { answerQuestion } from "../state/talk";
import { reveal } from "./reveal";
import { Settings } from "./Settings";

/** One prompt for every taste. */
export function PromptCard() {
  const empty = !prompt.value.trim();
  const go = () => {
    if (empty) return;
    if (mode.value === "find") answerQuestion();
    else answerAll();
    reveal("answers");
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      go();
    }
  };
  return (
    <section class="card prompt" aria-labelledby="prompt-title">
      <label for="prompt" id="prompt-title" class="title">One prompt, many tastes</label>
      <div class="ask">
        <textarea
          id="prompt"
          rows={2}
          placeholder="Type a prompt, then compare how each taste answers it."
          value={prompt.value}
          onInput={(e) => (prompt.value = e.currentTarget.value)}
          onKeyDown={onKeyDown}
        />
        <div class="buttons">
          {busy.value ? (
            <button type="button" id="stop" class="stop" onClick={stopAll}>Stop</button>
          ) : (
            <button type="button" id="ask" class="primary" disabled={empty} title="Ctrl + Enter" onClick={go}>Answer</button>
          )}
          {mode.value === "explore" && (
            <button type="button" class="quiet" disabled={empty || busy.value} onClick={answerDifferently}>Other words</button>
          )}
        </div>
      </div>
      <Settings />
    </section>
  );
}
