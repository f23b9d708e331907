import { useEffect } from "preact/hooks";
import { explored, prompt } from "../state/answers";
import { followTheSliders, outdated, remove } from "../state/explore";
import { asPreference, objectives } from "../state/server";
import { addTaste, edit, editing, LETTERS, MOST, tastes } from "../state/tastes";
import { AnswerCard } from "./AnswerCard";
import { Better } from "./Better";
import { Snippets } from "./Snippets";

/** The same prompt answered under every taste, side by side. */
export function Explore() {
  useEffect(followTheSliders, []);
  const several = objectives.value.length > 1;
  return (
    <section id="answers" aria-labelledby="answers-title">
      <div class="heading">
        <h2 id="answers-title">{tastes.value.length > 1 ? "Side by side" : "Answer"}</h2>
        {several && tastes.value.length < MOST && <button type="button" class="quiet" id="add-taste" onClick={addTaste}>Add a taste</button>}
      </div>
      <div class="columns" data-count={tastes.value.length}>
        {tastes.value.map((taste, i) => (
          <AnswerCard
            key={LETTERS[i]}
            letter={LETTERS[i]}
            weights={taste.weights}
            column={explored[i]}
            outdated={outdated(i)}
            active={several && tastes.value.length > 1 && editing.value === i}
            onEdit={several && tastes.value.length > 1 ? () => edit(i) : undefined}
            onRemove={tastes.value.length > 1 ? () => remove(i) : undefined}
          />
        ))}
      </div>
      {several && <Better />}
      <Snippets prompt={prompt.value} letter={LETTERS[editing.value]} preference={asPreference(tastes.value[editing.value].weights)} />
    </section>
  );
}
