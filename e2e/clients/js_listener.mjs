// Listens to the live feed by `ws`: each frame is a line on standard output, and so is how the connection ended.
// node js_listener.mjs NODE_MODULES URL, with the token in TOKEN, or headers as JSON in HEADERS.

import { createRequire } from 'node:module';
import path from 'node:path';

const [, , modules, url] = process.argv;
const WebSocket = createRequire(path.join(modules, 'from-here.js'))('ws');
const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

const headers = process.env.HEADERS
  ? JSON.parse(process.env.HEADERS)
  : { authorization: `Bearer ${process.env.TOKEN}` };
const socket = new WebSocket(url, { headers });
socket.on('message', (data) => process.stdout.write(`${data}\n`));
socket.on('unexpected-response', (_request, response) => {
  let body = '';
  response.on('data', (part) => (body += part));
  response.on('end', () => say({ refused: response.statusCode, body }));
});
socket.on('close', (code, reason) => say({ closed: code, reason: reason.toString() }));
socket.on('error', (error) => say({ error: error.message }));
