import { useSignal } from "@preact/signals";
import { ask, sentence } from "../api/client";
import type { PickReply } from "../api/types";
import { weightsOf } from "../model/front";
import { number } from "../model/text";
import { objectives } from "../state/server";
import { setWeights } from "../state/tastes";

/** Weights from a requirement: as much as possible of one objective, with at least so much of another. */
export function Pick() {
  const names = objectives.value;
  const most = useSignal(names[0]);
  const bounded = useSignal(names[1]);
  const level = useSignal("");
  const said = useSignal("");
  const submit = async (event: Event) => {
    event.preventDefault();
    try {
      const wish = { maximize: most.value, subject_to: { [bounded.value]: { ">=": Number(level.value) } } };
      const picked = await ask<PickReply>("v1/preferences/pick", wish);
      const weights = weightsOf(picked.preference, names);
      if (weights) setWeights(weights);
      const here = (name: string) => `${name} ${number(picked.expected[name].mean)}`;
      said.value = `Expect ${names.map(here).join(", ")}. ${picked.reason}`;
    } catch (error) {
      said.value = sentence(error);
    }
  };
  const choice = (id: string, label: string, value: { value: string }) => (
    <select id={id} aria-label={label} value={value.value} onChange={(e) => (value.value = e.currentTarget.value)}>
      {names.map((name) => <option key={name} value={name}>{name}</option>)}
    </select>
  );
  return (
    <details class="pick">
      <summary>Set them by a requirement</summary>
      <form onSubmit={submit}>
        <span>As much {choice("pick-most", "Objective to maximise", most)} as possible, with {choice("pick-bounded", "Objective with a bound", bounded)} of at least</span>
        <span><input type="number" step="any" id="pick-level" aria-label="Least mean reward" value={level.value} onInput={(e) => (level.value = e.currentTarget.value)} />
        <button type="submit" disabled={level.value === ""}>Pick</button></span>
      </form>
      {said.value && <p class="note" role="status">{said.value}</p>}
    </details>
  );
}
