// npm `@simulacrum/github-api-simulator`: signs in its one user at once. argv[2] is JSON:
// `host`, `port`, `user` (`id`, `login`, `email`), and `teams`, of which organization (a key)
// the user is an active member, and of which of its teams (slugs).
//
// The simulator has no memberships of its own: they are added with its own means, by GitHub's
// description of the API, which it checks the answers with.

import { simulation } from '@simulacrum/github-api-simulator';

import { listen } from './listening.mjs';

const { host, port, user, teams = {} } = JSON.parse(process.argv[2]);

const memberships = () => ({
  'users/list-emails-for-authenticated-user': (_, request, response) =>
    response.json([{ email: user.email, verified: true, primary: true, visibility: 'private' }]),
  'orgs/get-membership-for-authenticated-user': ({ request }, _, response) =>
    membership(response, request.params.org in teams),
  'teams/get-membership-for-user-in-org': ({ request }, _, response) => {
    const { org, team_slug: slug, username } = request.params;
    membership(response, username === user.login && teams[org]?.includes(slug));
  },
});

function membership(response, isMember) {
  if (isMember) response.json({ state: 'active', role: 'member' });
  else response.status(404).json({ message: 'Not Found' });
}

const simulator = simulation({
  initialState: {
    users: [{ ...user, organizations: Object.keys(teams) }],
    organizations: Object.entries(teams).map(([login, slugs]) => ({ login, teams: slugs })),
    repositories: [],
    branches: [],
    blobs: [],
  },
  extend: { openapiHandlers: memberships },
});

const { server } = await simulator.listen(port, host);
listen(server, { host, port });
