import { model, objectives } from "../state/server";
import { mode, type Mode } from "../state/tastes";
import { switchTo } from "../state/talk";
import { front } from "../state/server";

const MODES: [Mode, string][] = [
  ["explore", "Explore"],
  ["find", "Find your taste"],
];

export function Header() {
  const choosable = front.value !== null && objectives.value.length > 1;
  return (
    <header>
      <div class="brand">
        <svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
          <path d="M16 6 5.5 26h21Z" />
          <circle class="tone-2" cx="16" cy="6" r="4.5" />
          <circle class="tone-0" cx="5.5" cy="26" r="4.5" />
          <circle class="tone-1" cx="26.5" cy="26" r="4.5" />
        </svg>
        <h1>moalign</h1>
        {model.value && <span class="model" title={model.value.id}>{model.value.id}</span>}
      </div>
      {choosable && (
        <div class="segments" role="group" aria-label="What to do">
          {MODES.map(([name, label]) => (
            <button type="button" key={name} id={`mode-${name}`} aria-pressed={mode.value === name} onClick={() => switchTo(name)}>
              {label}
            </button>
          ))}
        </div>
      )}
    </header>
  );
}
