// S3 answers a PUT by 200 and knows no names; a client of a registry waits for 201 and a Location. Nothing else is touched.
// CloudFront Functions, JavaScript runtime 2.0; not called for answers of 400 and above.

const DIRECT = /^\/direct\/[A-Za-z0-9_-]+\/(sha256:[a-f0-9]{64})\/[A-Za-z0-9_-]+$/;
const UPLOAD = /^(\/v2\/.+\/blobs\/)uploads\/[^\/]+$/;
const DIGEST = /^sha256(?::|%3A)([a-f0-9]{64})$/i;

function handler(event) {
  const response = event.response;
  // Nobody but S3 answers an upload's PUT by 200.
  const stored = event.request.method === 'PUT' && response.statusCode === 200 ? blobOf(event.request) : undefined;
  if (!stored) return response;
  response.statusCode = 201;
  response.statusDescription = 'Created';
  response.headers.location = { value: stored.location };
  response.headers['docker-content-digest'] = { value: stored.digest };
  return response;
}

// From the request as viewer-request.js sent it on, or as the viewer sent it: which of them comes here is not documented.
function blobOf(request) {
  const direct = DIRECT.exec(request.uri);
  const location = request.headers['x-slipway-location'];
  if (direct && location) return { location: location.value, digest: direct[1] };
  const upload = UPLOAD.exec(request.uri);
  const named = request.querystring.digest;
  const digest = upload && named ? DIGEST.exec(named.value) : null;
  return digest ? { location: upload[1] + 'sha256:' + digest[1], digest: 'sha256:' + digest[1] } : undefined;
}
