#!/usr/bin/env bash
# All tests, on a fresh Debian machine with Go and root, or on any machine that has
# PostgreSQL, Chromium and xmlsec1. It starts its own PostgreSQL on loopback and ends it.
#   test/run.sh [go test flags]
set -euo pipefail
cd "$(dirname "$0")/.."
# A free port below those that the system hands out by itself.
if [ -z "${LATCHKEY_TEST_PG_PORT:-}" ]; then
	for LATCHKEY_TEST_PG_PORT in $(shuf -i 20000-29999 -n 50); do
		(exec 3<>"/dev/tcp/127.0.0.1/$LATCHKEY_TEST_PG_PORT") 2>/dev/null || break
	done
fi
export LATCHKEY_TEST_PG_PORT

step() { echo "== $* ($(date +%H:%M:%S))"; }

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v npm >/dev/null || missing+=(npm)
command -v xmlsec1 >/dev/null || missing+=(xmlsec1)
command -v xmllint >/dev/null || missing+=(libxml2-utils)
ls -d /usr/lib/postgresql/*/bin >/dev/null 2>&1 || missing+=(postgresql)
[ -e /usr/share/xml/opensaml/saml-schema-protocol-2.0.xsd ] || missing+=(opensaml-schemas)
[ -e /usr/share/xml/xmltooling/xmldsig-core-schema.xsd ] || missing+=(xmltooling-schemas)
fc-list 2>/dev/null | grep -q . || missing+=(fonts-dejavu-core)
if [ ${#missing[@]} -gt 0 ]; then
	step "installing ${missing[*]}"
	if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
		echo "The tests need: ${missing[*]}. Install them, or run as root on Debian." >&2
		exit 1
	fi
	export DEBIAN_FRONTEND=noninteractive
	mkdir -p /etc/postgresql-common
	[ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
	apt-get update -q >/tmp/latchkey-apt.log 2>&1 || { tail -20 /tmp/latchkey-apt.log >&2; exit 1; }
	apt-get install -y -q --no-install-recommends "${missing[@]}" >>/tmp/latchkey-apt.log 2>&1 || { tail -20 /tmp/latchkey-apt.log >&2; exit 1; }
fi

if [ ! -e test/browser/node_modules/axe-core/axe.min.js ]; then
	step "installing the rules of accessibility"
	npm ci --prefix test/browser --no-audit --no-fund --silent
fi

step "starting PostgreSQL"
LATCHKEY_TEST_POSTGRES=$(./test/postgres.sh start 2>/tmp/latchkey-postgres.log) || { cat /tmp/latchkey-postgres.log >&2; exit 1; }
export LATCHKEY_TEST_POSTGRES
trap './test/postgres.sh stop' EXIT

step "testing"
# Many tests wait for time to pass: more of them at once than there are processors.
go test -timeout 20m -parallel 8 "$@" ./...
step "the main job, end to end, on both databases"
go run ./cmd/latchkey demo --check
go run ./cmd/latchkey demo --check --postgres "$LATCHKEY_TEST_POSTGRES"
step "done"
