import { waitingFor } from "../state/server";

export function Loading() {
  return (
    <section class="card loading" role="status">
      <span class="spinner" aria-hidden="true" />
      <div>
        <h2>Getting ready</h2>
        <p class="note">Waiting: {waitingFor.value}. This page goes on by itself.</p>
      </div>
    </section>
  );
}
