import type { ComponentChildren } from "preact";
import { colourOf, inkOn } from "../model/colours";
import { inWords, plural } from "../model/text";
import { weightsOf } from "../model/front";
import type { Weights } from "../model/simplex";
import { stop, type Answer, type Column } from "../state/answers";
import { objectives } from "../state/server";
import { Shares } from "./Shares";

interface Props {
  letter: string;
  weights: Weights | null;
  column: Column;
  outdated?: boolean;
  active?: boolean;
  placeholder?: ComponentChildren;
  onEdit?: () => void;
  onRemove?: () => void;
}

/** One answer as it is written, under the weights that it was asked for. */
export function AnswerCard({ letter, weights, column, outdated, active, placeholder, onEdit, onRemove }: Props) {
  const answer = column.value;
  const colour = weights ? colourOf(weights) : "#8a8a8a";
  const writing = answer.state === "waiting" || answer.state === "writing";
  const classes = ["card", "answer", active ? "active" : "", outdated && !writing ? "outdated" : ""].join(" ").trim();
  return (
    <article class={classes} id={`answer-${letter}`} data-state={answer.state} aria-label={`Answer ${letter}`} style={{ "--tone": colour, "--on-tone": inkOn(colour) }}>
      <div class="answer-head">
        <span class="letter" aria-hidden="true">{letter}</span>
        <span class="words">{weights ? inWords(weights, objectives.value) : "no weights"}</span>
        <span class="tools">
          {onEdit && <button type="button" class="quiet small" aria-pressed={active} aria-label={`Move the sliders of ${letter}`} onClick={onEdit}>{active ? "Editing" : "Edit"}</button>}
          {onRemove && <button type="button" class="quiet small round" aria-label={`Remove ${letter}`} onClick={onRemove}>×</button>}
        </span>
      </div>
      {weights && <Shares weights={weights} />}
      <div class="body" aria-live="polite" aria-busy={writing}>
        {answer.state === "none" && (placeholder ?? <p class="note">The answer appears here.</p>)}
        {answer.state === "waiting" && <p class="note pulse">Waiting for the first words …</p>}
        {answer.text && <p class="text">{answer.text}{writing && <span class="caret" aria-hidden="true" />}</p>}
        {answer.state === "done" && !answer.text && <p class="note">The model ended its answer at once.</p>}
        {answer.state === "failed" && <p class="error" role="alert">{answer.error}</p>}
      </div>
      <div class="answer-foot">
        <span class="note">{footnote(answer, outdated ?? false)}</span>
        {writing && <button type="button" class="quiet small" aria-label={`Stop ${letter}`} onClick={() => stop(column)}>Stop</button>}
      </div>
    </article>
  );
}

function footnote(answer: Answer, outdated: boolean): string {
  if (answer.state === "none" || answer.state === "waiting" || answer.state === "failed") return "";
  const parts: string[] = [];
  if (answer.tokens !== null) parts.push(plural(answer.tokens, "token"));
  if (answer.finish === "length") parts.push("cut at the limit");
  if (answer.state === "stopped") parts.push("stopped");
  const used = answer.effective && weightsOf(answer.effective, objectives.value);
  if (outdated && used) parts.push(`written at ${inWords(used, objectives.value)}`);
  return parts.join(" · ");
}
