<?php
$set = json_decode(file_get_contents(getenv('INTEROP_SETTINGS')), true);
$config = [
    'default-sp' => [
        'saml:SP',
        'entityID' => $set['spEntityID'],
        'idp' => $set['idp']['entityID'],
        'privatekey' => $set['key'],
        'certificate' => $set['certificate'],
        'sign.authnrequest' => $set['sign'],
        'sign.logout' => true,
        'validate.logout' => true,
        'signature.algorithm' => 'http://www.w3.org/2001/04/xmldsig-more#rsa-sha256',
        'NameIDPolicy' => ['Format' => $set['format'], 'AllowCreate' => true],
        'WantAssertionsSigned' => $set['wantAssertionSigned'],
        'assertion.encryption' => $set['wantEncrypted'],
    ],
];
