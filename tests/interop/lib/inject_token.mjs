// Preload (`node --import`) for programs that have no option for a header: adds a token to
// every request for one origin, whoever makes it (fetch or undici).

import diagnosticsChannel from 'node:diagnostics_channel';

const { INJECT_TOKEN: token, INJECT_ORIGIN: origin } = process.env;

diagnosticsChannel.subscribe('undici:request:create', ({ request }) => {
  if (String(request.origin) === origin) request.addHeader('authorization', `Bearer ${token}`);
});
