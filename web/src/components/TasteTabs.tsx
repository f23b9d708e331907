import { colourOf, inkOn } from "../model/colours";
import { inWords } from "../model/text";
import { objectives } from "../state/server";
import { edit, editing, LETTERS, tastes } from "../state/tastes";

/** Which taste the sliders move. */
export function TasteTabs() {
  if (tastes.value.length < 2) return null;
  return (
    <div class="tabs" role="group" aria-label="Taste that the sliders move">
      {tastes.value.map((taste, i) => (
        <button
          type="button"
          key={LETTERS[i]}
          class="letter"
          aria-pressed={editing.value === i}
          aria-label={`Taste ${LETTERS[i]}: ${inWords(taste.weights, objectives.value)}`}
          style={{ "--tone": colourOf(taste.weights), "--on-tone": inkOn(colourOf(taste.weights)) }}
          onClick={() => edit(i)}
        >
          {LETTERS[i]}
        </button>
      ))}
    </div>
  );
}
