#!/usr/bin/env bash
# A throw-away PostgreSQL on loopback for the tests.
#   test/postgres.sh start   install it if it's missing, start it, print its URL
#   test/postgres.sh stop    end it and delete its data
set -euo pipefail

port=${LATCHKEY_TEST_PG_PORT:-54329}
dir=${LATCHKEY_TEST_PG_DIR:-/tmp/latchkey-test-postgres-$port}
url="postgres://latchkey@127.0.0.1:$port/latchkey?sslmode=disable"

bin() {
	ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1
}

# PostgreSQL refuses to run as root.
as_owner() {
	if [ "$(id -u)" = 0 ]; then
		(cd / && exec setpriv --reuid=postgres --regid=postgres --init-groups "$@")
	else
		"$@"
	fi
}

case "${1:-}" in
start)
	if [ -z "$(bin)" ]; then
		echo "installing PostgreSQL" >&2
		export DEBIAN_FRONTEND=noninteractive
		apt-get update -q >&2
		# The package would start a cluster of its own that nobody needs.
		mkdir -p /etc/postgresql-common
		[ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
		apt-get install -y -q --no-install-recommends postgresql >&2
	fi
	pg=$(bin)
	if ! as_owner "$pg/pg_isready" -q -h 127.0.0.1 -p "$port"; then
		rm -rf "$dir"
		mkdir -p "$dir"
		[ "$(id -u)" != 0 ] || chown postgres: "$dir"
		as_owner "$pg/initdb" -D "$dir/data" -U latchkey -A trust -E UTF8 --locale=C.UTF-8 >&2
		# It's thrown away after the tests, so durability would only cost time.
		as_owner "$pg/pg_ctl" -D "$dir/data" -l "$dir/log" -w -t 60 -o "-c listen_addresses=127.0.0.1 -p $port -k $dir -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=300 -c shared_buffers=128MB" start >&2
		as_owner "$pg/createdb" -h 127.0.0.1 -p "$port" -U latchkey latchkey >&2
	fi
	echo "$url"
	;;
stop)
	pg=$(bin)
	[ ! -d "$dir/data" ] || as_owner "$pg/pg_ctl" -D "$dir/data" -m immediate -w stop >&2 || true
	rm -rf "$dir"
	;;
*)
	echo "usage: $0 start|stop" >&2
	exit 2
	;;
esac
