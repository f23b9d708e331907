import { computed } from "@preact/signals";
import { expectedAt } from "../state/expected";
import { front, frontNote, objectives } from "../state/server";
import { edited, editing, mode, setWeights, spread, tastes } from "../state/tastes";
import { toneOf } from "../model/colours";
import { rounded, uniform } from "../model/simplex";
import { Expectation } from "./Expectation";
import { Pick } from "./Pick";
import { TasteTabs } from "./TasteTabs";
import { Triangle } from "./Triangle";
import { WeightSlider } from "./WeightSlider";

const expected = computed(() => expectedAt(edited.value));

/** The weights of one taste: a slider an objective, a triangle for three, and what to expect of them. */
export function WeightsCard() {
  const names = objectives.value;
  if (names.length < 2) return <OneObjective name={names[0]} />;
  const shown = rounded(edited.value);
  const bands = editing.value === 0 ? spread.value : null;
  return (
    <section class="card weights" aria-labelledby="weights-title">
      <div class="heading">
        <h2 id="weights-title">{mode.value === "find" || tastes.value.length < 2 ? "Your weights" : "Weights"}</h2>
        {mode.value === "explore" && <TasteTabs />}
        <button type="button" class="quiet" onClick={() => setWeights(uniform(names.length))}>Equal</button>
      </div>
      <div class={names.length === 3 ? "controls with-triangle" : "controls"}>
        {names.length === 3 && <Triangle />}
        <div class="sliders">
          {names.map((name, k) => (
            <div class="objective" key={name}>
              <WeightSlider name={name} k={k} value={edited.value[k]} shown={shown[k]} tone={toneOf(k, names.length)} low={bands?.low[k]} high={bands?.high[k]} />
              {front.value && expected.value && <Expectation front={front.value} expected={expected.value} k={k} tone={toneOf(k, names.length)} />}
            </div>
          ))}
        </div>
      </div>
      {front.value ? <Pick /> : <p class="note">No expected rewards: {frontNote.value}.</p>}
    </section>
  );
}

function OneObjective({ name }: { name: string }) {
  return (
    <section class="card weights" aria-labelledby="weights-title">
      <h2 id="weights-title">One objective</h2>
      <p class="note">This model was trained for {name} alone, so there is nothing to trade off. Ask away.</p>
    </section>
  );
}
