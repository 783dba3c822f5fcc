# A service provider around ruby-saml. Argument: the file of its settings, read anew with each request.
require "cgi"
require "json"
require "securerandom"
require "webrick"
require "onelogin/ruby-saml"

FILE = ARGV[0]
SESSIONS = {}

def read = JSON.parse(File.read(FILE))

def library(c, sign)
  post = c["binding"] == "post"
  bindings = %w[HTTP-Redirect HTTP-POST].map { |b| "urn:oasis:names:tc:SAML:2.0:bindings:#{b}" }
  settings = OneLogin::RubySaml::IdpMetadataParser.new.parse(
    File.read(c["idp"]["metadata"]), sso_binding: post ? bindings.reverse : bindings, slo_binding: bindings
  )
  settings.sp_entity_id = c["spEntityID"]
  settings.assertion_consumer_service_url = c["base"] + "/acs"
  settings.single_logout_service_url = c["base"] + "/slo"
  settings.name_identifier_format = c["format"]
  settings.certificate = File.read(c["certificate"])
  settings.private_key = File.read(c["key"])
  settings.force_authn = true if c["force"]
  settings.passive = true if c["passive"]
  # As with Redirect, it compresses requests by POST unless told not to.
  settings.compress_request = !post
  settings.soft = false
  settings.security = settings.security.merge(
    authn_requests_signed: sign, logout_requests_signed: true, logout_responses_signed: true, embed_sign: post,
    want_assertions_signed: c["wantAssertionSigned"], want_assertions_encrypted: c["wantEncrypted"],
    # Its defaults are SHA-1.
    signature_method: XMLSecurity::Document::RSA_SHA256, digest_method: XMLSecurity::Document::SHA256
  )
  settings
end

def page(action, fields)
  inputs = fields.map { |k, v| %(<input type="hidden" name="#{CGI.escapeHTML(k.to_s)}" value="#{CGI.escapeHTML(v.to_s)}">) }.join
  %(<!DOCTYPE html><form method="post" action="#{CGI.escapeHTML(action)}">#{inputs}<button>Continue</button></form>)
end

def answer(res, status, type, body)
  res.status = status
  res["Content-Type"] = type
  res.body = body
end

def go(res, to)
  res.status = 302
  res["Location"] = to
end

def serve(req, res)
  c = read
  who = (req.cookies.find { |x| x.name == "rubyprovider" })&.value
  session = SESSIONS[who]
  case req.path
  when "/metadata"
    answer(res, 200, "application/samlmetadata+xml", OneLogin::RubySaml::Metadata.new.generate(library(c, c["sign"]), true))
  when "/login"
    settings = library(c, c["sign"])
    request = OneLogin::RubySaml::Authrequest.new
    if c["binding"] == "post"
      answer(res, 200, "text/html; charset=utf-8", page(settings.idp_sso_service_url, request.create_params(settings, RelayState: "/session")))
    else
      go(res, request.create(settings, RelayState: "/session"))
    end
  when "/acs"
    response = OneLogin::RubySaml::Response.new(req.query["SAMLResponse"].to_s, settings: library(c, c["sign"]))
    response.is_valid?
    id = SecureRandom.hex(16)
    attributes = response.attributes.all.to_h { |k, v| [k, v] }
    SESSIONS[id] = { nameID: response.nameid, format: response.name_id_format, attributes: attributes, index: response.sessionindex }
    res.cookies << WEBrick::Cookie.new("rubyprovider", id).tap { |x| x.path = "/" }
    go(res, "/session")
  when "/session"
    return answer(res, 401, "application/json", "{}") unless session
    answer(res, 200, "application/json", JSON.generate(session.slice(:nameID, :format, :attributes)))
  when "/logout"
    SESSIONS.delete(who)
    settings = library(c, c["sign"])
    settings.name_identifier_value = session[:nameID]
    settings.name_identifier_format = session[:format]
    settings.sessionindex = session[:index]
    go(res, OneLogin::RubySaml::Logoutrequest.new.create(settings, {}))
  when "/slo"
    settings = library(c, c["sign"])
    raw = (req.query_string || "").split("&").to_h { |kv| kv.split("=", 2) }
    get = raw.transform_values { |v| CGI.unescape(v) }
    if get["SAMLResponse"]
      OneLogin::RubySaml::Logoutresponse.new(get["SAMLResponse"], settings, get_params: get, raw_get_params: raw).validate
      return answer(res, 200, "text/plain", "signed out")
    end
    request = OneLogin::RubySaml::SloLogoutrequest.new(get["SAMLRequest"].to_s, settings: settings, get_params: get, raw_get_params: raw)
    request.is_valid?
    SESSIONS.delete_if { |_, s| s[:nameID] == request.name_id }
    more = get["RelayState"] ? { RelayState: get["RelayState"] } : {}
    go(res, OneLogin::RubySaml::SloLogoutresponse.new.create(settings, request.id, nil, more))
  else
    answer(res, 404, "text/plain", "not found")
  end
end

class Servlet < WEBrick::HTTPServlet::AbstractServlet
  def service(req, res)
    serve(req, res)
  rescue StandardError => e
    warn e.full_message
    answer(res, 403, "text/plain", "#{e.class}: #{e.message}")
  end
end

host, port = read["listen"].split(":")
server = WEBrick::HTTPServer.new(BindAddress: host, Port: port.to_i, AccessLog: [], Logger: WEBrick::Log.new($stderr, WEBrick::Log::WARN))
server.mount("/", Servlet)
trap("TERM") { server.shutdown }
server.start
