import { comparable, explored } from "../state/answers";
import { LETTERS, tastes } from "../state/tastes";
import { front } from "../state/server";
import { switchTo } from "../state/talk";
import { learnFromBest, learning, user, userNote } from "../state/user";

/** Which answer is better? With a name set, the server learns from it; without one, it can ask. */
export function Better() {
  const count = tastes.value.length;
  const answers = explored.slice(0, count).map((column) => column.value);
  if (count < 2 || !comparable(answers)) return null;
  if (!user.value) {
    if (!front.value) return null;
    return (
      <div class="verdict hint">
        <p>Not sure which weights are yours? Answer a few questions instead.</p>
        <button type="button" onClick={() => switchTo("find")}>Find your taste</button>
      </div>
    );
  }
  const choose = (best: number) => learnFromBest(answers[best], answers.filter((_, i) => i !== best));
  return (
    <div class="verdict">
      <p id="better-title">Which do you like better, {user.value}?</p>
      <div class="row" role="group" aria-labelledby="better-title">
        {LETTERS.slice(0, count).map((letter, i) => (
          <button type="button" key={letter} id={`better-${letter}`} disabled={learning.value} onClick={() => void choose(i)}>{letter} is better</button>
        ))}
      </div>
      {userNote.value && <p class="note" role="status">{userNote.value}</p>}
    </div>
  );
}
