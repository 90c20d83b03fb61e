import cf from 'cloudfront';

// Who must fetch a token first, and where an upload's bytes go. Tokens are only denied here: the API verifies them. What goes
// to the store is vouched for by the MAC of its upload's state.
//
// Key-value store: `settings` {"realm", "service", "direct", "relay", "limits": {"inline", "direct"}}, and `upload-key-<id>`.

const crypto = require('crypto');
const store = cf.kvs();

const LEEWAY = 30;
const PULL = ['pull'];
const PUSH = ['pull', 'push'];
const UPLOADS = /^\/v2\/([\s\S]*)\/blobs\/uploads\/?$/;
const UPLOAD = /^\/v2\/([\s\S]*)\/blobs\/uploads\/([^\/]*)$/;
const BLOB = /^\/v2\/([\s\S]*)\/blobs\/[^\/]*$/;
const MANIFEST = /^\/v2\/([\s\S]*)\/manifests\/[^\/]*$/;

// The rows of chalicelib/wire/distribution/routes.py; a test compares them.
const ROUTES = [
  [['GET', 'HEAD'], /^\/v2\/?$/, []],
  [['GET'], /^\/v2\/_catalog$/, ['*']],
  [['POST'], UPLOADS, PUSH],
  [['PATCH', 'PUT', 'GET', 'DELETE'], UPLOAD, PUSH],
  [['GET', 'HEAD'], BLOB, PULL],
  [['DELETE'], BLOB, ['delete']],
  [['GET', 'HEAD'], MANIFEST, PULL],
  [['PUT'], MANIFEST, PUSH],
  [['DELETE'], MANIFEST, ['delete']],
  [['GET'], /^\/v2\/([\s\S]*)\/tags\/list$/, PULL],
  [['GET'], /^\/v2\/([\s\S]*)\/referrers\/[^\/]*$/, PULL],
  [['POST'], /^\/_relay\/v2\/([\s\S]*)\/blobs\/uploads\/[^\/]*\/(?:open|begin)$/, PUSH]
];

// No $: in some engines it stands before a line break.
const NAME = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*(?![\s\S])/;
const DIGEST = /^(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})(?![\s\S])/;
const KEY = /^[A-Za-z0-9_-]{1,32}$/;

async function handler(event) {
  const request = event.request;
  // wire/address.py
  if (request.uri.slice(0, 4) !== '/v2/') request.headers['x-slipway-viewer'] = { value: event.viewer.ip };
  const path = decoded(request.uri);
  const route = routed(request.method, path);
  // Unknown routes, bad names and encoded slashes the API refuses.
  if (!route || (request.uri.indexOf('%') >= 0 && /%2f/i.test(request.uri))) return request;
  if (route.name !== undefined && (route.name.length > 255 || !NAME.test(route.name))) return request;
  const claims = claimsOf(header(request, 'authorization'));
  const error = missing(claims, route);
  const uploads = route.pattern === UPLOADS || route.pattern === UPLOAD;
  if (error === null || (error === undefined && !uploads)) return request;
  try {
    const config = await store.get('settings', { format: 'json' });
    if (error !== undefined) return challenge(config, route, error);
    let state = { l: 'open' };
    if (route.pattern === UPLOAD) state = await stateOf(request, route, claims.sub);
    return state ? upload(request, state, config) : refused(404, 'BLOB_UPLOAD_UNKNOWN', 'the upload is unknown');
  } catch (failure) {
    // It is filled after the deployment, slowly.
    return refused(503, 'UNAVAILABLE', 'the edge has no settings or no key yet', { 'retry-after': { value: '5' } });
  }
}

function routed(method, path) {
  for (let i = 0; i < ROUTES.length; i++) {
    const found = ROUTES[i][0].indexOf(method) < 0 ? null : ROUTES[i][1].exec(path);
    if (found) {
      const resource = found[1] === undefined ? 'registry:catalog' : 'repository:' + found[1];
      return { pattern: ROUTES[i][1], actions: ROUTES[i][2], resource: resource, name: found[1], reference: found[2] };
    }
  }
  return undefined;
}

// A bearer token's claims, unverified; undefined without one, null if unreadable.
function claimsOf(authorization) {
  if (!/^bearer +[^ ]/i.test(authorization)) return undefined;
  const payload = authorization.slice(authorization.indexOf('.') + 1, authorization.lastIndexOf('.'));
  try {
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString());
    return payload.indexOf('.') < 0 && typeof claims.exp === 'number' ? claims : null;
  } catch (unreadable) {
    return null;
  }
}

// RFC 6750's code for what the token lacks, '' for no token; undefined if nothing, null if it was asked for and refused: no other
// token would be better, and the API says why.
function missing(claims, route) {
  if (claims === undefined) return '';
  if (claims === null || Date.now() / 1000 >= claims.exp + LEEWAY) return 'invalid_token';
  let lacks;
  for (let i = 0; i < route.actions.length; i++) {
    if (!covers(claims.access, route.resource, route.actions[i])) {
      if (covers(claims.refused, route.resource, route.actions[i])) return null;
      lacks = 'insufficient_scope';
    }
  }
  return lacks;
}

function covers(grants, resource, action) {
  return Array.isArray(grants) && grants.some((grant) => {
    const actions = grant && grant.type + ':' + grant.name === resource ? grant.actions : null;
    return Array.isArray(actions) && (actions.indexOf(action) >= 0 || actions.indexOf('*') >= 0);
  });
}

function challenge(config, route, error) {
  let told = 'Bearer realm="' + config.realm + '",service="' + config.service + '"';
  if (route.actions.length) told += ',scope="' + route.resource + ':' + route.actions.join(',') + '"';
  if (error) told += ',error="' + error + '"';
  return refused(401, 'UNAUTHORIZED', 'a token is required', { 'www-authenticate': { value: told } });
}

function upload(request, state, config) {
  const limits = config.limits;
  const bodiless = request.method === 'GET' || request.method === 'DELETE';
  const length = bodiless ? 0 : lengthOf(request);
  if (length <= limits.inline && state.l !== 'relay') return request;
  const digests = parameters(request, 'digest');
  const digest = digests.length === 1 && DIGEST.test(digests[0]) ? digests[0] : '';
  if (!digest && (request.method === 'PUT' || (request.method === 'POST' && digests.length))) {
    return refused(400, 'DIGEST_INVALID', 'the digest is missing or not valid');
  }
  if (config.direct && request.method === 'PUT' && state.l === 'open' && length > limits.inline && length <= limits.direct) {
    const plain = !request.headers['content-range'] && request.uri.indexOf('%') < 0;
    if (plain && digest.slice(0, 7) === 'sha256:') return toStorage(request, state, digest);
  }
  if (config.relay && (request.method !== 'POST' || digest)) {
    cf.selectRequestOriginById('relay');
    return request;
  }
  // What has no length may be small; else the gateway refuses it.
  return length === undefined || length <= limits.inline ? request : tooLarge(config);
}

// Of what the viewer chose only the bytes reach S3, which checks their hash and keeps it.
function toStorage(request, state, digest) {
  const hash = digest.slice(7);
  const headers = {
    'x-amz-content-sha256': { value: hash },
    'x-amz-checksum-sha256': { value: Buffer.from(hash, 'hex').toString('base64') },
    'x-slipway-location': { value: '/v2/' + state.n + '/blobs/' + digest } // for viewer-response.js
  };
  ['host', 'content-length', 'via'].forEach((name) => {
    if (request.headers[name]) headers[name] = request.headers[name];
  });
  request.headers = headers;
  request.querystring = {};
  request.cookies = {};
  request.uri = '/direct/' + state.r + '/' + digest + '/' + state.u;
  cf.selectRequestOriginById('storage');
  return request;
}

function tooLarge(config) {
  const direct = config.direct ? 'containerd, Docker 29, oras or Helm, which send a layer as one PUT; ' : '';
  const ways = direct + 'slipway relay --upstream <registry> on your machine; or a relay that the operator deploys';
  return refused(413, 'SIZE_INVALID', 'a body this large does not pass here. Use ' + ways);
}

// What wire/distribution/state.py signed; null if it is not good for this path and account.
async function stateOf(request, route, account) {
  const texts = parameters(request, '_state');
  const parts = texts.length === 1 ? texts[0].split('.') : [];
  let state;
  try {
    state = JSON.parse(Buffer.from(parts[0], 'base64url').toString());
  } catch (unreadable) {
    return null;
  }
  if (parts.length !== 2 || !state || !KEY.test(state.k) || !(Date.now() / 1000 < state.e)) return null;
  if (state.u !== route.reference || state.n !== route.name || state.a !== account) return null;
  const key = await store.get('upload-key-' + state.k);
  const mac = crypto.createHmac('sha256', key).update(parts[0]).digest('base64url');
  return same(mac, parts[1]) ? state : null;
}

// In constant time.
function same(expected, given) {
  let differs = expected.length ^ given.length;
  for (let i = 0; i < expected.length; i++) differs |= expected.charCodeAt(i) ^ given.charCodeAt(i);
  return differs === 0;
}

function decoded(text) {
  try {
    return text.indexOf('%') < 0 ? text : decodeURIComponent(text);
  } catch (unreadable) {
    return text;
  }
}

// All of repeated ones.
function header(request, name) {
  const found = request.headers[name];
  if (!found) return '';
  return found.multiValue ? found.multiValue.map((each) => each.value).join(',') : found.value;
}

// Undefined for chunks and HTTP/2 streams.
function lengthOf(request) {
  const text = header(request, 'content-length');
  return /^[0-9]{1,15}$/.test(text) && !request.headers['transfer-encoding'] ? Number(text) : undefined;
}

// Two values of a query parameter at most.
function parameters(request, name) {
  const values = [];
  for (const key in request.querystring) {
    if (decoded(key) === name) {
      const found = request.querystring[key];
      (found.multiValue || [found]).forEach((each) => {
        const value = decoded(each.value);
        if (values.length < 2 && values.indexOf(value) < 0) values.push(value);
      });
    }
  }
  return values;
}

function refused(status, code, message, headers) {
  const all = { 'content-type': { value: 'application/json' }, 'docker-distribution-api-version': { value: 'registry/2.0' } };
  for (const name in headers || {}) all[name] = headers[name];
  const body = JSON.stringify({ errors: [{ code: code, message: message, detail: {} }] });
  return { statusCode: status, headers: all, body: { encoding: 'text', data: body } };
}
