# shellcheck shell=bash disable=SC2154 # the variables named below
# tests/mpi/run_jobs.sh on several hosts: what it asks for where one host and several differ. Sourced, not
# run; needs hosts (the script), folder (its own) and HOSTS_DIR.

# testbed NAME: makes it unless it is there; HOSTS_ID is then its name.
testbed()
{
    export HOSTS_ID=$1
    [ ! -e "$HOSTS_DIR/coll_rdma_hosts.$1/ready" ] || return 0
    case $1 in
    plain) "$hosts" up 16 ;;
    lossy) "$hosts" up 7 --delay 200 --rate 1000 --loss 1 ;;
    far) "$hosts" up 16 --delay 1000 --rate 1000 ;;
    esac >"$HOSTS_DIR/up.$1" 2>&1 || return 1
    touch "$HOSTS_DIR/coll_rdma_hosts.$1/ready"
}

remove_hosts()
{
    local state

    for state in "$HOSTS_DIR"/coll_rdma_hosts.*; do
        [ ! -d "$state" ] || HOSTS_ID=${state##*.} "$hosts" down >/dev/null &
    done
    wait
    rm -rf "$HOSTS_DIR"
}

# The place of a case, HOSTSxRANKS_PER_HOST@TESTBED, takes the place of tests/mpi/run's transport.
transport_options()
{
    local count=${1%%x*} ranks=${1#*x} 

    ranks=${ranks%@*}
    testbed "${1#*@}" || echo "testbed ${1#*@}: $(cat "$HOSTS_DIR/up.${1#*@}")" >&2
    mpirun_command=("$hosts" mpirun "$ranks" --hosts "$count")
    options+=(--mca coll_rdma_transport auto)
    transport_name="ucp"
    [ "$ranks" -eq 1 ] || transport_name="shm|ucp|shm+ucp"
}

# With several ranks per host the parameters choose what happens between hosts.
adapt_rules()
{
    if [[ $1 == *x1@* ]]; then
        cat
    else
        sed -E 's/ (algorithm|degree)=/ inter_\1=/'
    fi
}

# Each host has a rank that used UCP; on hosts with several ranks one used shared memory. Ranks are placed
# host by host.
check_transports() # LOG TRANSPORT
{
    local ranks=${2#*x}

    awk -v hosts="${2%%x*}" -v ranks="${ranks%@*}" '
        /coll_rdma: rank [0-9]+\/[0-9]+ cid .* algorithm=.* transport=/ {
            rank = $0; sub(/.*coll_rdma: rank /, "", rank); sub(/\/.*/, "", rank)
            host = int(rank / ranks)
            if (/ transport=(shm\+)?ucp/) between[host] = 1
            if (/ transport=shm/) within[host] = 1
        }
        END {
            for (host = 0; host < hosts; ++host) {
                if (!between[host]) print "host " host ": no call reached another host"
                if (1 < ranks && !within[host]) print "host " host ": no call used shared memory"
            }
        }' "$1" | head -n 3
}

prepare_leftovers()
{
    :
}

# What a killed job left on the hosts; its daemons may need a moment to end. Open MPI's own segments do not
# count, see new_shm_entries.
left_behind()
{
    local try left

    for try in 1 2 3 4 5 6 7 8 9 10; do
        left=$("$hosts" left | grep -vE '/(vader|sm)_segment\.')
        [ -n "$left" ] || return 0
        sleep 0.5
    done
    sed 's/^/left behind: /' <<<"$left"
}

# --- cases of kind `call`: the testbed itself

# Own id, so that it is not another case's testbed; always taken down.
own_testbed() # NAME UP_ARGUMENTS..
{
    export HOSTS_ID=$1

    shift
    trap '"$hosts" down; exit' EXIT
    "$hosts" up "$@"
}

# between NAME VALUE LEAST MOST
between()
{
    echo "$1: $2, expected $3 to $4"
    awk -v v="$2" -v least="$3" -v most="$4" 'BEGIN { exit !(v >= least && v <= most) }'
}

# The shortest round trip in ms: other programs on the machine make some of them longer, none shorter.
ping_time() # PING_ARGUMENTS..
{
    "$hosts" exec 0 ping -n -q "$@" 10.77.0.2 | tee /dev/stderr | sed -n 's|^rtt .* = \([^/]*\)/.*|\1|p'
}

testbed_delay()
{
    command -v ping >/dev/null || { echo "ping is missing (package iputils-ping)"; return 77; }
    own_testbed delay 2 --delay 5000 || return 1
    between "shortest round trip, ms" "$(ping_time -c 40 -i 0.05)" 10 12
}

testbed_loss()
{
    local replies

    command -v ping >/dev/null || { echo "ping is missing (package iputils-ping)"; return 77; }
    own_testbed loss 2 --loss 30 || return 1
    replies=$("$hosts" exec 0 ping -n -q -c 400 -i 0.002 -W 1 10.77.0.2 | tee /dev/stderr |
        sed -n 's/.* \([0-9]*\) received.*/\1/p')
    # the request and the reply may get lost
    between "replies of 400" "$replies" 157 235 || return 1
    # the network of mpirun's daemons loses nothing
    "$hosts" exec 0 ping -n -q -c 100 -i 0.002 10.78.0.2 | grep ' 0% packet loss'
}

# The best of some tries: a busy machine is slower, none is faster.
testbed_rate()
{
    local try rate best=0

    own_testbed rate 3 --rate 200 || return 1
    for try in 1 2 3 4 5; do
        rate=$("$hosts" exec 0 "$PYTHON" "$folder/throughput.py" "$hosts" 1)
        best=$(awk -v a="$best" -v b="${rate:-0}" 'BEGIN { print (a > b ? a : b) }')
        ! awk -v b="$best" 'BEGIN { exit !(b >= 171) }' || break
    done
    between "Mbit/s, best of $try" "$best" 171 205
}

# Two testbeds at once; what was started in one goes with it and leaves the other alone.
testbed_down()
{
    local state=$HOSTS_DIR/coll_rdma_hosts.first before inside

    before=$(ls -d /proc/[0-9]* | wc -l)
    export HOSTS_ID=second
    trap 'for HOSTS_ID in first second; do "$hosts" down; done; exit' EXIT
    "$hosts" up 2 || return 1
    HOSTS_ID=first "$hosts" up 2 --delay 100 || return 1
    HOSTS_ID=first "$hosts" exec 1 setsid sleep 98765 &
    "$hosts" exec 1 setsid sleep 98764 &
    # without the mark, with signals blocked: known by its namespace
    HOSTS_ID=first "$hosts" exec 1 env -u CRDMA_HOSTS sh -c 'trap "" TERM HUP; sleep 98763; sleep 98762' &
    sleep 0.5
    HOSTS_ID=first "$hosts" exec 0 touch /dev/shm/file
    [ "$(HOSTS_ID=first "$hosts" left | grep -cE 'process .*(9876|exec 1|trap)|file in h0')" -ge 3 ] ||
        { HOSTS_ID=first "$hosts" left; return 1; }
    inside=$(sed -n 's/.* //p' "$state"/*.pid)
    HOSTS_ID=first "$hosts" down
    HOSTS_ID=first "$hosts" down || return 1
    echo "after down:"
    ! ls -d "$state" 2>/dev/null || return 1
    ! pgrep -af 'sleep 9876[523]' || return 1
    ! find /proc/[0-9]*/ns/net -maxdepth 0 -printf '%l\n' 2>/dev/null | grep -xF "$inside" || return 1
    "$hosts" exec 0 true && pgrep -af 'sleep 98764' && "$hosts" down
    echo "processes: $before, now $(ls -d /proc/[0-9]* | wc -l)"
}

# A testbed that cannot be completed leaves nothing.
testbed_fails()
{
    export HOSTS_ID=fails

    ! "$hosts" up 2 --loss 101 || return 1
    [ ! -e "$HOSTS_DIR/coll_rdma_hosts.fails" ] && ! "$hosts" exec 0 true
}

# A host dies under a job, daemon and all: mpirun must say so and end.
host_dies()
{
    local log=$HOSTS_DIR/host_dies victims pid status launched
    local -a options command

    own_testbed dies 4 || return 1
    launch_options 8
    component_options
    program_command test_kill --iterations 1000000 --limit 60
    LIMIT=50 launch "$log" "$hosts" mpirun 2 "${options[@]}" --mca coll rdma "${command[@]}" &
    sleep 4
    victims=$("$hosts" left | sed -n 's/^process \([0-9]*\): .*/\1/p')
    victims=$(for pid in $victims; do
        [ "$(nsenter -t "$pid" --uts hostname 2>/dev/null)" != h2 ] || echo "$pid"
    done)
    echo "processes of h2: ${victims//$'\n'/ }"
    # shellcheck disable=SC2086 # a list of words
    kill -KILL $victims
    wait $!
    status=$?
    cat "$log"
    echo "exit status $status"
    if [ -z "$victims" ] || [ $status -eq 0 ] || [ $status -eq 124 ] || grep -q HANG "$log"; then
        return 1
    fi
    # whoever is first: the component, or mpirun
    grep -qE 'the peer has failed|lost communication with a remote daemon' "$log" || return 1
    # files of the dead host stay: nobody there could remove them
    ! left_behind | grep ' process '
}

# Buffers in GPU memory (tests/fakecuda) on hosts that only TCP connects: through the host, by every rank.
gpu_through_host()
{
    local log=$HOSTS_DIR/gpu fake=$TEST_BIN_DIR/../fakecuda status launched
    local -a options

    [ -e "$fake/libcuda.so.1" ] || { echo "tests/fakecuda/libcuda.so.1 is missing: make tests-build"; return 77; }
    own_testbed gpu 2 || return 1
    launch_options 4
    component_options
    options+=(-x "LD_LIBRARY_PATH=$fake" -x FAKECUDA_DELAY_US=100 --mca coll_rdma_verbose 2
        --mca coll_rdma_gpu_min 1024 --mca coll_rdma_rendezvous_min 1024)
    LIMIT=150 launch "$log" "$hosts" mpirun 2 "${options[@]}" --mca coll rdma "$TEST_BIN_DIR/../gpu/test_gpu" --quick \
        --limit 140
    status=$?
    grep -vE 'coll_rdma: rank .* algorithm=' "$log"
    [ $status -eq 0 ] && grep -q '^test_gpu: passed' "$log" && grep -q 'the application has loaded libcuda' "$log" &&
        grep -q ' transport=shm+ucp' "$log" && ! grep -q 'memory=gpu' "$log"
}
