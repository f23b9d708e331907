import { useSignal } from "@preact/signals";
import { live, settings } from "../state/answers";
import { forget, recall, user, userNote } from "../state/user";

interface Range {
  name: "max_tokens" | "temperature" | "seed";
  label: string;
  min: number;
  max?: number;
  step: number;
}

const RANGES: Range[] = [
  { name: "max_tokens", label: "Most tokens", min: 1, step: 1 },
  { name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.1 },
  { name: "seed", label: "Seed", min: 0, step: 1 },
];

/** How answers are drawn, and who is asking. */
export function Settings() {
  const name = useSignal(user.value);
  const set = (range: Range, text: string) => {
    const value = Number(text);
    const whole = range.step === 1 ? Math.round(value) : value;
    if (text.trim() === "" || !Number.isFinite(whole)) return;
    settings.value = { ...settings.value, [range.name]: Math.min(range.max ?? Infinity, Math.max(range.min, whole)) };
  };
  return (
    <details class="settings">
      <summary>Settings{user.value ? ` · learning for ${user.value}` : ""}</summary>
      <div class="fields">
        {RANGES.map((range) => (
          <label class="field" key={range.name}>
            <span>{range.label}</span>
            <input type="number" id={range.name} min={range.min} max={range.max} step={range.step} value={settings.value[range.name]} onChange={(e) => set(range, e.currentTarget.value)} />
          </label>
        ))}
        <form class="field who" onSubmit={(e) => (e.preventDefault(), void recall(name.value))}>
          <label for="user">Your name, for the server to learn from your choices</label>
          <span class="joined">
            <input id="user" autocomplete="off" maxLength={128} value={name.value} onInput={(e) => (name.value = e.currentTarget.value)} />
            <button type="submit" disabled={name.value.trim() === user.value}>Set</button>
            {user.value && <button type="button" onClick={() => void forget()}>Forget me</button>}
          </span>
        </form>
        <label class="check">
          <input type="checkbox" id="live" checked={live.value} onChange={(e) => (live.value = e.currentTarget.checked)} />
          <span>Answer again when the sliders come to rest</span>
        </label>
      </div>
      {userNote.value && <p class="note" role="status">{userNote.value}</p>}
    </details>
  );
}
