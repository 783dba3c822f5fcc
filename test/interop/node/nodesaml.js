// A service provider around @node-saml/node-saml. Argument: the file of its settings, read anew with each request.
"use strict";
const fs = require("fs");
const http = require("http");
const crypto = require("crypto");
const { SAML } = require("@node-saml/node-saml");

const file = process.argv[2];
const read = () => JSON.parse(fs.readFileSync(file));
const sessions = new Map(); // cookie → session
let refused = "";

// Requests are remembered over settings.
const pending = new Map();
const cache = {
  saveAsync: async (key, value) => { const item = { value, createdAt: Date.now() }; pending.set(key, item); return item; },
  getAsync: async (key) => (pending.has(key) ? pending.get(key).value : null),
  removeAsync: async (key) => (key !== null && pending.delete(key) ? key : null),
};

function library(c, signing) {
  const key = fs.readFileSync(c.key, "utf8");
  const certificate = fs.readFileSync(c.certificate, "utf8");
  return new SAML({
    issuer: c.spEntityID,
    callbackUrl: c.base + "/acs",
    logoutCallbackUrl: c.base + "/slo",
    entryPoint: c.binding === "post" ? c.idp.ssoPost : c.idp.ssoRedirect,
    logoutUrl: c.idp.sloRedirect || undefined,
    idpIssuer: c.idp.entityID,
    idpCert: c.idp.certificates,
    audience: c.spEntityID,
    identifierFormat: c.format,
    forceAuthn: c.force,
    passive: c.passive,
    authnRequestBinding: c.binding === "post" ? "HTTP-POST" : "HTTP-Redirect",
    // Without this, requests by POST go compressed, too (not so in saml-bindings 3.5.4).
    skipRequestCompression: c.binding === "post",
    disableRequestedAuthnContext: true,
    wantAssertionsSigned: c.wantAssertionSigned,
    wantAuthnResponseSigned: c.wantResponseSigned,
    validateInResponseTo: "ifPresent",
    cacheProvider: cache,
    decryptionPvk: key,
    ...(signing ? { privateKey: key, publicCert: certificate, signatureAlgorithm: "sha256", digestAlgorithm: "sha256" } : {}),
  });
}

const cookie = (req) => (/(?:^|; )nodesaml=([0-9a-f]+)/.exec(req.headers.cookie || "") || [])[1];
const body = async (req) => { let s = ""; for await (const part of req) s += part; return Object.fromEntries(new URLSearchParams(s)); };
const send = (res, status, type, text, headers = {}) => { res.writeHead(status, { "Content-Type": type, ...headers }); res.end(text); };
const go = (res, to) => { res.writeHead(302, { Location: to }); res.end(); };

// Logout messages end a session by what they name, whoever carries them.
function end(profile) {
  for (const [id, s] of sessions) if (s.profile.nameID === profile.nameID) sessions.delete(id);
}

async function logout(res, saml, message, profile) {
  if (!message.SAMLRequest) return send(res, 200, "text/plain", "signed out");
  end(profile);
  return go(res, await saml.getLogoutResponseUrlAsync(profile, message.RelayState || "", {}, true));
}

async function serve(req, res) {
  const c = read();
  const url = new URL(req.url, c.base);
  switch (url.pathname) {
    case "/metadata": {
      const certificate = fs.readFileSync(c.certificate, "utf8");
      return send(res, 200, "application/samlmetadata+xml", library(c, true).generateServiceProviderMetadata(certificate, certificate));
    }
    case "/login": {
      const saml = library(c, c.sign);
      if (c.binding === "post") return send(res, 200, "text/html", await saml.getAuthorizeFormAsync("/session"));
      return go(res, await saml.getAuthorizeUrlAsync("/session", undefined, {}));
    }
    case "/acs": {
      const { profile } = await library(c, c.sign).validatePostResponseAsync(await body(req));
      if (!profile) { refused = "no profile"; return send(res, 403, "text/plain", refused); }
      const id = crypto.randomBytes(16).toString("hex");
      const attributes = {};
      for (const [k, v] of Object.entries(profile.attributes || {})) attributes[k] = [].concat(v).map(String);
      sessions.set(id, { profile, shown: { nameID: profile.nameID, format: profile.nameIDFormat, attributes } });
      return send(res, 302, "text/plain", "", { Location: "/session", "Set-Cookie": `nodesaml=${id}; Path=/; HttpOnly` });
    }
    case "/session": {
      const s = sessions.get(cookie(req));
      if (!s) return send(res, 401, "application/json", JSON.stringify({ error: refused }));
      return send(res, 200, "application/json", JSON.stringify(s.shown));
    }
    case "/logout": {
      const s = sessions.get(cookie(req));
      if (!s) return send(res, 401, "text/plain", "nobody is signed in");
      sessions.delete(cookie(req));
      return go(res, await library(c, true).getLogoutUrlAsync(s.profile, "", {}));
    }
    case "/slo": {
      const saml = library(c, true);
      if (req.method === "POST") {
        const form = await body(req);
        const { profile } = form.SAMLRequest ? await saml.validatePostRequestAsync(form) : await saml.validatePostResponseAsync(form);
        return logout(res, saml, form, profile);
      }
      const query = Object.fromEntries(url.searchParams);
      const { profile } = await saml.validateRedirectAsync(query, url.search.slice(1));
      return logout(res, saml, query, profile);
    }
  }
  return send(res, 404, "text/plain", "not found");
}

const first = read();
const [host, port] = first.listen.split(":");
http.createServer((req, res) => {
  serve(req, res).catch((err) => { refused = String(err.message); console.error(err); send(res, 403, "text/plain", refused); });
}).listen(Number(port), host);
