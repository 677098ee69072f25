#!/usr/bin/env node
// What BROWSER names for programs that open one: signs in at the URL given and goes where
// the guard then sends the browser. With --print, prints that address instead.

import { Browser } from './browser.mjs';

const print = process.argv[2] === '--print';
const browser = new Browser();
const target = await browser.signIn(process.argv[print ? 3 : 2]);
if (print) console.log(target.href);
else await browser.deliver(target);
