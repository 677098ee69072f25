// npm `@simulacrum/github-api-simulator`: signs in its one user at once. argv[2] is JSON:
// `host`, `port`, `user` (`id`, `login`, `email`), and `teams`, of which organization (a key)
// the user is an active member, and of which of its teams (slugs).
//
// The simulator has no addresses and memberships of its own: they are added with its own means,
// under the names of GitHub's description of the API.

import { simulation } from '@simulacrum/github-api-simulator';

import { listen } from './listening.mjs';

const { host, port, user, teams = {} } = JSON.parse(process.argv[2]);

const answers = () => ({
  'users/list-emails-for-authenticated-user': (_, request, response) =>
    response.json([{ email: user.email, verified: true, primary: true, visibility: 'private' }]),
  'orgs/get-membership-for-authenticated-user': ({ request }, _, response) => {
    if (request.params.org in teams) response.json({ state: 'active', role: 'member' });
    else response.status(404).json({ message: 'Not Found' });
  },
  'teams/list-for-authenticated-user': (_, request, response) =>
    response.json(
      Object.entries(teams).flatMap(([login, slugs]) =>
        slugs.map((slug) => ({ slug, name: slug, organization: { login } })),
      ),
    ),
});

const simulator = simulation({
  initialState: {
    users: [{ ...user, organizations: Object.keys(teams) }],
    organizations: Object.entries(teams).map(([login, slugs]) => ({ login, teams: slugs })),
    repositories: [],
    branches: [],
    blobs: [],
  },
  extend: { openapiHandlers: answers },
});

const { server } = await simulator.listen(port, host);
listen(server, { host, port });
