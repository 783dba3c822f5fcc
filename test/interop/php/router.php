<?php
// The pages around SimpleSAMLphp's own: sign in, sign out, and what it knows of the person.

$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if (!in_array($path, ['/login', '/logout', '/session', '/refused'], true)) {
    return false; // one of its own
}
require_once '/usr/share/simplesamlphp/lib/_autoload.php';
$set = json_decode(file_get_contents(getenv('INTEROP_SETTINGS')), true);
$sp = new \SimpleSAML\Auth\Simple('default-sp');
switch ($path) {
    case '/login':
        $sp->login([
            'ForceAuthn' => $set['force'],
            'isPassive' => $set['passive'],
            'ReturnTo' => $set['base'] . '/session',
            'ErrorURL' => $set['base'] . '/refused',
        ]);
        break;
    case '/logout':
        $sp->logout($set['base'] . '/refused');
        break;
    case '/refused':
        header('Content-Type: text/plain');
        echo 'nobody is signed in';
        break;
    case '/session':
        header('Content-Type: application/json');
        if (!$sp->isAuthenticated()) {
            http_response_code(401);
            echo '{}';
            break;
        }
        $name = $sp->getAuthData('saml:sp:NameID');
        echo json_encode(['nameID' => $name->getValue(), 'format' => $name->getFormat(), 'attributes' => $sp->getAttributes()]);
}
return true;
