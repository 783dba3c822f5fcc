"""A service provider around pysaml2."""

from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT
from saml2.client import Saml2Client
from saml2.config import SPConfig
from saml2.metadata import entity_descriptor
from saml2.xmldsig import DIGEST_SHA256, SIG_RSA_SHA256

import web

# The ids of requests that may be answered.
outstanding = {}


def library(s):
    config = SPConfig()
    config.load({
        "entityid": s["spEntityID"],
        "xmlsec_binary": "/usr/bin/xmlsec1",
        "service": {"sp": {
            "endpoints": {
                "assertion_consumer_service": [(s["base"] + "/acs", BINDING_HTTP_POST)],
                "single_logout_service": [(s["base"] + "/slo", BINDING_HTTP_REDIRECT), (s["base"] + "/slo", BINDING_HTTP_POST)],
            },
            "allow_unsolicited": True,
            "authn_requests_signed": s["sign"],
            "logout_requests_signed": True,
            "logout_responses_signed": True,
            "want_response_signed": s["wantResponseSigned"],
            "want_assertions_signed": s["wantAssertionSigned"],
            "name_id_format": [s["format"]],
            # Its default forbids to make a persistent NameID (saml-core 3.4.1.1, AllowCreate).
            "name_id_format_allow_create": True,
            "signing_algorithm": SIG_RSA_SHA256,
            "digest_algorithm": DIGEST_SHA256,
        }},
        "metadata": {"local": [s["idp"]["metadata"]]},
        "key_file": s["key"], "cert_file": s["certificate"],
        "encryption_keypairs": [{"key_file": s["key"], "cert_file": s["certificate"]}],
        "allow_unknown_attributes": True,
        "accepted_time_diff": 60,
    })
    return Saml2Client(config=config)


def onward(info):
    location = dict(info["headers"]).get("Location")
    return web.Onward(url=location) if location else web.Onward(page="".join(info["data"]))


class Provider:
    def metadata(self, s):
        return str(entity_descriptor(library(s).config))

    def login(self, s):
        more = {}
        if s["force"]:
            more["force_authn"] = "true"
        if s["passive"]:
            more["is_passive"] = "true"
        request, info = library(s).prepare_for_authenticate(
            entityid=s["idp"]["entityID"], relay_state="/session", nameid_format=s["format"], sign=s["sign"],
            binding=BINDING_HTTP_POST if s["binding"] == "post" else BINDING_HTTP_REDIRECT, **more)
        outstanding[request] = "/session"
        return onward(info)

    def response(self, s, form):
        r = library(s).parse_authn_request_response(
            form["SAMLResponse"], BINDING_HTTP_POST, outstanding=dict(outstanding),
            # Without it, it doesn't look at the Recipient.
            conv_info={"entity_id": s["spEntityID"]})
        if r is None:
            raise ValueError("refused")
        name = r.get_subject()
        attributes = {k: [str(x) for x in v] for k, v in r.ava.items()}
        return {"nameID": name.text, "format": name.format, "attributes": attributes, "name": name, "info": r.session_info()}

    def logout(self, s, p):
        client = library(s)
        client.users.add_information_about_person(dict(p["info"]))
        for binding, info in client.global_logout(p["name"], sign=True).values():
            return onward(info)
        raise ValueError("there is nowhere to send a LogoutRequest")

    def logout_message(self, s, query, raw, form, people):
        client = library(s)
        binding, message = (BINDING_HTTP_POST, form) if form else (BINDING_HTTP_REDIRECT, query)
        if "SAMLResponse" in message:
            r = client.parse_logout_request_response(message["SAMLResponse"], binding)
            if r is None or not r.status_ok():
                raise ValueError("the answer was refused")
            return None, None
        for p in people:
            client.users.add_information_about_person(dict(p["info"]))
        request = client.parse_logout_request(message["SAMLRequest"], binding)
        name = request.message.name_id
        info = client.handle_logout_request(message["SAMLRequest"], name, binding, sign=True, relay_state=message.get("RelayState", ""))
        return name.text, onward(info)


web.serve(Provider())
