#!/usr/bin/env node
// What BROWSER names for programs that open one: signs in at the URL given and goes where
// the guard then sends the browser. With --print, prints that address instead. INTEROP_PERSON
// says who signs in, as JSON for `Browser.walk`.

import { Browser } from './browser.mjs';

const print = process.argv[2] === '--print';
const browser = new Browser();
const { INTEROP_PERSON: person } = process.env;
const target = await browser.signIn(process.argv[print ? 3 : 2], person && JSON.parse(person));
if (print) console.log(target.href);
else await browser.deliver(target);
