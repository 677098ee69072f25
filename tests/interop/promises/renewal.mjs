// Certificates that live two minutes: the guard replaces them while it is being used. Most of it is
// waiting, so it runs beside the other groups.

import { runClient, withCertifiedGuard } from '../lib/certified.mjs';

const TWO_MINUTES = 120;

export async function renewal(checks) {
  await withCertifiedGuard(checks, { validity: TWO_MINUTES }, (guard) =>
    runClient(checks, 'renewal', 'renewal_client.mjs', guard, 260_000),
  );
}
