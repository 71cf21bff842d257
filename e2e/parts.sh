#!/usr/bin/env bash
# Installs what the end-to-end tests run against, each thing once: Debian's packages by apt-get where their commands are
# missing, the rest at exact versions into a cache outside of the tree:
#
#   $CACHE/kafka/*.jar    Apache Kafka           (e2e/kafka/pom.xml)
#   $CACHE/hivemq/*.jar   HiveMQ's MQTT client   (e2e/clients/pom.xml)
#   $CACHE/jms/*.jar      Qpid JMS               (e2e/clients/jms)
#   $CACHE/vertx/*.jar    Vert.x's AMQP client   (e2e/clients/vertx)
#   $CACHE/spark/*.jar    Apache Spark           (examples/spark)
#   $CACHE/broker-NAME/   jars of the broker NAME and its compiled main class (e2e/brokers/NAME)
#   $CACHE/node/          mqtt.js, rhea, and ws for its WebSockets
#   $CACHE/python/        paho and confluent-kafka, a virtual environment
#
# Qpid Proton is Debian's, for Debian's own /usr/bin/python3.
#
# CACHE is $LINKSPAN_E2E_CACHE, or else linkspan-e2e in the user's cache directory. A folder that is there is complete
# and of these versions: its name carries a digest of what asked for it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${LINKSPAN_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/linkspan-e2e}
PATH=$PATH:/usr/sbin:/sbin # where Debian has servers
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
sudo=()

# retry COMMAND...: registries have bad moments.
retry() {
  local pause
  for pause in 5 15 30 60; do
    "$@" && return
    echo "failed, again in $pause s: $*" >&2
    sleep "$pause"
  done
  "$@"
}

# debian: the packages whose commands are missing. Some bring services, which must not start: with System V's init RUNLEVEL=1
# sees to it, elsewhere a policy for as long as it takes.
debian() {
  local missing=()
  have() { command -v "$1" >/dev/null || missing+=("${@:2}"); }
  have mosquitto_pub mosquitto-clients
  have mosquitto mosquitto
  have kcat kcat
  have javac openjdk-17-jdk-headless
  have mvn maven
  have node nodejs
  have npm npm
  have python3 python3 python3-venv
  have rabbitmqctl rabbitmq-server
  have strace strace
  have mkfs.ext4 e2fsprogs
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  /usr/bin/python3 -c 'import proton' 2>/dev/null || missing+=(python3 python3-qpid-proton)
  [ ${#missing[@]} -eq 0 ] && return
  [ "$(id -u)" -eq 0 ] || sudo=(sudo -n)
  echo "installing ${missing[*]}"
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    trap '"${sudo[@]}" rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee /usr/sbin/policy-rc.d >/dev/null
    "${sudo[@]}" chmod 755 /usr/sbin/policy-rc.d
  fi
  local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3)
  retry "${apt[@]}" update
  retry "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >"$cache/apt.log" 2>&1 || { cat "$cache/apt.log"; exit 1; }
}

# part NAME KEY COMMAND...: runs COMMAND DIR to fill a new directory, unless NAME is there already and made from KEY.
part() {
  local name=$1 key dir
  key=$(printf '%s' "$2" | sha256sum | cut -c1-12)
  dir=$cache/$name-$key
  if [ ! -e "$dir" ]; then
    echo "fetching $name"
    rm -rf "$dir.new"
    mkdir "$dir.new"
    retry "${@:3}" "$dir.new"
    mv "$dir.new" "$dir"
  fi
  ln -sfn "$dir" "$cache/$name"
}

# Maven alone would take what does not fit its checksum, and wait half an hour for a server that has gone quiet; each of the two
# properties is known to some of its versions.
jars() { mvn -B -C -ntp -q -Dstyle.color=never -Dmaven.wagon.rto=60000 -Daether.connector.requestTimeout=60000 -f "$1" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$2"; }
broker() { jars "$1/pom.xml" "$2" && javac -proc:none -d "$2" -cp "$2/*" "$1"/*.java; }
node_modules() { npm install --prefix "${@: -1}" --no-audit --no-fund --loglevel=error "${@:1:$#-1}" >/dev/null; }

# Moving a virtual environment breaks its scripts, not its bin/python, and that alone is used.
venv() { python3 -m venv "$3" && "$3/bin/python" -m pip install -q --disable-pip-version-check "$1" "$2"; }

debian
part kafka "$(cat "$here/kafka/pom.xml")" jars "$here/kafka/pom.xml"
part hivemq "$(cat "$here/clients/pom.xml")" jars "$here/clients/pom.xml"
for broker in activemq artemis hivemq; do
  part "broker-$broker" "$(cat "$here/brokers/$broker"/*)" broker "$here/brokers/$broker"
done
for client in jms vertx; do
  part "$client" "$(cat "$here/clients/$client/pom.xml")" jars "$here/clients/$client/pom.xml"
done
spark=$here/../examples/spark/pom.xml
part spark "$(cat "$spark")" jars "$spark"
modules=(mqtt@5.16.0 rhea@3.0.5 ws@8.18.3)
part node "${modules[*]} $(node --version)" node_modules "${modules[@]}"
part python "paho-mqtt 2.2.0 confluent-kafka 2.16.1 $(python3 -c 'import sys; print(sys.version, sys.prefix)')" \
  venv paho-mqtt==2.2.0 confluent-kafka==2.16.1
