"""A service provider around python3-saml (onelogin.saml2)."""

from onelogin.saml2.auth import OneLogin_Saml2_Auth
from onelogin.saml2.idp_metadata_parser import OneLogin_Saml2_IdPMetadataParser
from onelogin.saml2.logout_request import OneLogin_Saml2_Logout_Request
from onelogin.saml2.settings import OneLogin_Saml2_Settings
from onelogin.saml2.utils import OneLogin_Saml2_Utils

import web

POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"


def library(s, sign):
    idp = OneLogin_Saml2_IdPMetadataParser.parse(web.text(s["idp"]["metadata"]))
    return OneLogin_Saml2_IdPMetadataParser.merge_settings(idp, {
        "strict": True,
        "sp": {
            "entityId": s["spEntityID"],
            "assertionConsumerService": {"url": s["base"] + "/acs", "binding": POST},
            "singleLogoutService": {"url": s["base"] + "/slo", "binding": REDIRECT},
            "NameIDFormat": s["format"],
            "x509cert": web.text(s["certificate"]),
            "privateKey": web.text(s["key"]),
        },
        "security": {
            "authnRequestsSigned": sign,
            "logoutRequestSigned": True,
            "logoutResponseSigned": True,
            "wantAssertionsSigned": s["wantAssertionSigned"],
            "wantMessagesSigned": s["wantResponseSigned"],
            "wantAssertionsEncrypted": s["wantEncrypted"],
            "requestedAuthnContext": False,
            # Its defaults are SHA-1.
            "signatureAlgorithm": "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            "digestAlgorithm": "http://www.w3.org/2001/04/xmlenc#sha256",
        },
    })


def auth(s, query=None, raw="", form=None, path="/acs"):
    return OneLogin_Saml2_Auth({
        "https": "off", "http_host": s["listen"], "server_port": s["listen"].split(":")[1], "script_name": path,
        "get_data": query or {}, "post_data": form or {}, "query_string": raw,
    }, old_settings=library(s, s["sign"]))


class Provider:
    def metadata(self, s):
        # The metadata names the key for encryption only if encryption is wanted.
        config = library(s, s["sign"])
        config["security"]["wantAssertionsEncrypted"] = True
        return OneLogin_Saml2_Settings(config, sp_validation_only=True).get_sp_metadata()

    def login(self, s):
        return web.Onward(url=auth(s).login(return_to="/session", force_authn=s["force"], is_passive=s["passive"]))

    def response(self, s, form):
        a = auth(s, form=form)
        a.process_response()
        if a.get_errors() or not a.is_authenticated():
            raise ValueError("%s: %s" % (a.get_errors(), a.get_last_error_reason()))
        return {"nameID": a.get_nameid(), "format": a.get_nameid_format(), "attributes": a.get_attributes(), "index": a.get_session_index()}

    def logout(self, s, p):
        return web.Onward(url=auth(s).logout(name_id=p["nameID"], session_index=p["index"], name_id_format=p["format"]))

    def logout_message(self, s, query, raw, form, people):
        a = auth(s, query=query, raw=raw, path="/slo")
        url = a.process_slo(keep_local_session=True)
        if a.get_errors():
            raise ValueError("%s: %s" % (a.get_errors(), a.get_last_error_reason()))
        if "SAMLRequest" not in query:
            return None, None
        request = OneLogin_Saml2_Utils.decode_base64_and_inflate(query["SAMLRequest"])
        return OneLogin_Saml2_Logout_Request.get_nameid(request, key=web.text(s["key"])), web.Onward(url=url)


web.serve(Provider())
