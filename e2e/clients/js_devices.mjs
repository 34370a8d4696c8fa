// Devices by MQTT.js, ordered about by lines of JSON on standard input. See driver.rs for the language.

import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import path from 'node:path';

const mqtt = createRequire(path.join(process.argv[2], 'from-here.js'))('mqtt');
const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
const held = new Map();

class Client {
  constructor(name) {
    this.name = name;
  }

  connect(request) {
    const file = (name) => (request[name] ? readFileSync(request[name]) : undefined);
    const options = {
      protocol: `${request.websocket ? 'ws' : 'mqtt'}${request.ca ? 's' : ''}`,
      path: '/mqtt',
      host: request.host,
      port: request.port,
      protocolVersion: request.version,
      clientId: this.name,
      username: request.user ?? undefined,
      password: request.password ?? undefined,
      keepalive: request.keepalive,
      reconnectPeriod: 0,
      connectTimeout: 60_000,
      clean: true,
      will: request.will ? { ...request.will, payload: Buffer.from(request.will.payload), retain: false } : undefined,
      ca: file('ca'),
      cert: file('cert'),
      key: file('key'),
    };
    if (request.ack_reason) {
      options.customHandleAcks = (_topic, _message, _packet, done) => done(null, request.ack_reason);
    }
    const client = mqtt.connect(options);
    this.client = client;
    let connected = false;
    let waiting = request.id;
    let code = null;
    const answer = (what) => {
      if (waiting !== null) say({ id: waiting, ...what });
      waiting = null;
    };
    client.on('packetreceive', (packet) => {
      if (packet.cmd === 'connack') {
        const refused = request.version === 5 ? packet.reasonCode : packet.returnCode;
        connected = refused === 0;
        answer({ ok: true, code: refused });
      }
      if (packet.cmd === 'disconnect') code = packet.reasonCode ?? 0;
    });
    client.on('error', (error) => answer({ ok: false, why: String(error) }));
    client.on('close', () => {
      answer({ ok: false, why: 'the connection was closed' });
      if (connected) say({ client: this.name, event: 'ended', code });
      connected = false;
    });
    client.on('message', (topic, payload, packet) => {
      const mid = packet.messageId ?? 0;
      say({ client: this.name, event: 'message', topic, payload: payload.toString(), qos: packet.qos, mid });
    });
  }

  done(request, error, code) {
    if (!error) return say({ id: request.id, ok: true, code: code ?? 0 });
    // An acknowledgement with a reason is an answer, not a failure.
    if (typeof error.code === 'number') return say({ id: request.id, ok: true, code: error.code });
    return say({ id: request.id, ok: false, why: String(error) });
  }

  publish(request) {
    const { topic, payload, qos } = request;
    this.client.publish(topic, payload, { qos }, (error, packet) => this.done(request, error, packet?.reasonCode));
  }

  subscribe(request) {
    this.client.subscribe(request.filter, { qos: request.qos }, (error, granted, packet) => {
      const code = packet?.granted?.[0] ?? granted?.[0]?.qos;
      this.done(request, code === undefined ? error : null, code);
    });
  }

  unsubscribe(request) {
    this.client.unsubscribe(request.filter, (error) => this.done(request, error));
  }

  ack(request) {
    say({ id: request.id, ok: false, why: 'MQTT.js acknowledges by itself' });
  }

  disconnect(request) {
    this.client.end(false, () => say({ id: request.id, ok: true }));
  }

  cut(request) {
    const { stream } = this.client;
    if (stream.resetAndDestroy) stream.resetAndDestroy();
    else stream.destroy();
    say({ id: request.id, ok: true });
  }

  hang(request) {
    const { stream } = this.client;
    stream.unpipe?.();
    stream.pause();
    this.client.sendPing = () => {};
    say({ id: request.id, ok: true });
  }
}

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => {
  const request = JSON.parse(line);
  if (request.op === 'hello') return say({ id: request.id, ok: true });
  if (!held.has(request.client)) held.set(request.client, new Client(request.client));
  try {
    held.get(request.client)[request.op](request);
  } catch (error) {
    say({ id: request.id, ok: false, why: String(error) });
  }
});
lines.on('close', () => process.exit(0));
