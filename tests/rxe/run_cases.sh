# shellcheck shell=bash disable=SC2154 # the variables named below
# What tests/rxe/inside runs, as lines like those of tests/mpi/run_cases.sh, and the cases of kind `call`.
# Sourced, not run; needs run_lib.sh, lose().
#
# Emulation is slow: few cases, each for something that no other one has.

cases_one()
{
    local variant

    add call 0 verbs default devices_active
    add call 2 verbs default pingpong rxe0 rxe1
    add call 2 verbs-loss default pingpong rxe1 rxe0
    add call 2 verbs default unit_test test_verbs
    add served 2 verbs default test_served
    add served 4 verbs default test_served
    add plain 2 verbs default test_basic --quick
    add plain 4 verbs default test_random --quick
    add plain 2 verbs default test_comms --quick
    add plain 2 verbs default test_threads --quick
    for variant in tiny-blocks rendezvous-write rendezvous-read wrap; do
        add served 3 verbs $variant test_served
        add plain 3 verbs $variant test_random --quick
    done
    add served 2 verbs-loss default test_served
    add plain 4 verbs-loss default test_random --quick
    add plain 2 verbs-loss rendezvous-write test_random --quick
    add plain 2 verbs-loss rendezvous-read test_random --quick
    add plain 2 verbs rendezvous-write test_remap --quick
    add plain 2 verbs rendezvous-read test_remap --quick
    add call 2 verbs default buffers_stay_registered
    add call 2 verbs default peer_killed 2
    add call 4 verbs-loss default peer_killed 4
    add kill 2 verbs default test_kill --mode first --iterations 8
    add call 2 verbs default refused locked_memory
    add call 2 verbs default refused permission
    add served 2 rc default test_served
    add plain 4 rc default test_random --quick
    add plain 2 rc rendezvous-write test_random --quick
    add plain 2 rc rendezvous-read test_random --quick
    add plain 2 rc-loss default test_random --quick
    add call 2 verbs default refused port_down # last: the port stays down
}

# The devices read and write GPU memory: a stand-in's (tests/fakecuda). One of each kind, and the rest.
cases_gpu()
{
    add call 2 verbs default gpu 2 direct write - --mode far
    add call 2 verbs default gpu 2 direct read lost --mode far-lost
    add call 2 verbs default gpu_not_reached 2 none
    add call 3 verbs default gpu_killed 3 write flight
    add call 2 rc default gpu_ucx 2 direct write - --mode far
}

cases_gpu_more()
{
    add call 3 verbs default gpu 3 direct read - --mode far
    add call 2 verbs default gpu 2 direct write ordered --mode far
    add call 2 verbs default gpu 2 direct write address --mode far
    add call 2 verbs default gpu 2 direct write lost --mode far-lost
    add call 2 verbs default gpu 2 direct write - gpu=direct --mode far-reuse
    add call 2 verbs default gpu_not_reached 2 unordered
    add call 2 verbs default gpu 2 gpu write -
    add call 2 verbs default gpu_killed 2 read first
    add call 3 rc default gpu_ucx 3 direct read - --mode far
    add call 2 rc default gpu_ucx 2 direct write lost --mode far-lost
    add call 2 rc default gpu_ucx 2 direct read lost --mode far-lost
    add call 2 rc default gpu_ucx 2 direct write - gpu=direct --mode far-reuse
    add call 2 rc default gpu_ucx_refused 2
}

cases_two()
{
    add call 0 verbs default other_machine
    add served 2 verbs default test_served
    add served 4 auto default test_served
    add plain 4 auto default test_random --quick
    add plain 2 verbs-loss default test_random --quick
    add plain 2 verbs rendezvous-read test_random --quick
    add call 2 verbs default peer_killed 2
    add served 2 rc default test_served
    add plain 2 rc default test_random --quick
    add call 4 auto default gpu_auto 4 direct write - --mode far
    add call 2 auto default other_transport # last: the port stays down
}

devices_active()
{
    local devices active

    devices=$(ibv_devinfo -l | grep -c rxe)
    active=$(ibv_devinfo | grep -c PORT_ACTIVE)
    ibv_devinfo
    [ "$devices" -ge 1 ] && [ "$devices" -eq "$active" ]
}

pingpong() # DEVICE DEVICE: also without the component
{
    local server status

    timeout 60 ibv_rc_pingpong -d "$1" -g 1 -n 50 -s 16384 &
    server=$!
    sleep 1
    timeout 60 ibv_rc_pingpong -d "$2" -g 1 -n 50 -s 16384 localhost
    status=$?
    wait $server && [ $status -eq 0 ]
}

other_machine()
{
    local status

    timeout 60 /control/rsh vm1 ibv_rc_pingpong -d rxe0 -g 1 -n 50 &
    server=$!
    sleep 2
    timeout 60 ibv_rc_pingpong -d rxe0 -g 1 -n 50 vm1
    status=$?
    wait $server && [ $status -eq 0 ]
}

unit_test() # PROGRAM of tests/unit
{
    lose 0
    UCX_TLS=tcp,self UCX_NET_DEVICES=br0 timeout 120 "$TEST_BIN_DIR/../unit/$1"
}

# launch_with TRANSPORT PROGRAM [ARGUMENTS]: on two ranks, with the trace; `wrap` (an array) is put before the
# program. Its output is in `text`.
launch_with()
{
    local log=$LOG_DIR/launch_with.log transport_name launched status
    local -a options command

    launch_options 2
    component_options
    options+=(--mca coll_rdma_verbose 2)
    program_command "${@:2}"
    command=("${wrap[@]}" "${command[@]}")
    transport_options "$1"
    launch "$log" mpirun "${options[@]}" --mca coll rdma "${command[@]}"
    status=$?
    text=$(<"$log")
    rm -f "$log"
    echo "$text"
    return $status
}

# Verbs is asked for and cannot be had: one clear line, and the program works over what else there is.
refused() # WHY
{
    local text line
    local -a wrap

    case $1 in
    locked_memory)
        # shellcheck disable=SC2016 # expanded there
        wrap=(bash -c 'ulimit -l 64; exec setpriv --inh-caps=-ipc_lock --bounding-set=-ipc_lock "$@"' -)
        line='verbs: port rxe[01]:1: .* cannot be registered: .*; the limit of locked memory is 0\.1 MiB: raise it'
        ;;
    permission)
        wrap=(setpriv --inh-caps=-dac_override,-dac_read_search --bounding-set=-dac_override,-dac_read_search)
        chmod 0 /dev/infiniband/uverbs*
        trap 'chmod 666 /dev/infiniband/uverbs*' RETURN
        line='verbs: device rxe[01] cannot be opened: /dev/infiniband/uverbs[01]: Permission denied'
        ;;
    port_down)
        wrap=()
        ip link set rx0 down
        line='verbs: port rxe0:1 is not active but down'
        ;;
    esac
    launch_with verbs test_served && grep -qE "$line" <<<"$text" && ! grep -q ' transport=verbs' <<<"$text"
}

# One of two machines has no usable port: all use UCX.
other_transport()
{
    local text
    local -a wrap=()

    ip link set rx0 down
    launch_with auto test_served && grep -q 'verbs: .*rxe0' <<<"$text" &&
        grep -q ' transport=ucp' <<<"$text" && ! grep -q ' transport=verbs' <<<"$text"
}

# The buffers of equal calls are registered once, not per call.
buffers_stay_registered()
{
    local log=$LOG_DIR/registered.log text transport_name launched
    local -a options command

    launch_options 2
    component_options
    options+=(--mca coll_rdma_rendezvous write --mca coll_rdma_rendezvous_min 1024 --mca coll_rdma_verbose 1)
    # never gives memory back: the way of round 0 in every round
    program_command test_remap --iterations 40 --mode keep
    transport_options verbs
    launch "$log" mpirun "${options[@]}" --mca coll rdma "${command[@]}"
    text=$(<"$log")
    rm -f "$log"
    echo "$text"
    awk '/verbs: user buffers:/ { ++ranks; if ($5 >= 40 && $7 <= 6) ++good; print }
        END { exit !(ranks == 2 && good == 2) }' <<<"$text"
}

# gpu_launch PROGRAM WAY RDMA ARGUMENTS: a program of tests/gpu over the stand-in for the GPU's driver, whose memory the
# device registers (tests/fakecuda). Parameters of the component (NAME=VALUE) may be among the arguments. The number of
# ranks is in `ranks`, output in `text`.
gpu_launch()
{
    local program=$1 way=$2 rdma=$3 log=$LOG_DIR/gpu.log transport_name launched status
    local fake=$TEST_BIN_DIR/../fakecuda
    local -a options command arguments
    local word

    shift 3
    launch_options "$ranks"
    component_options
    [ "$program" != killed ] || options+=(--enable-recovery)
    options+=(--mca coll_rdma_verbose 2 --mca coll_rdma_rendezvous "$way" --mca coll_rdma_rendezvous_min 1024
        --mca coll_rdma_gpu_min 1024 -x "LD_LIBRARY_PATH=$fake" -x FAKECUDA_DELAY_US=100 -x FAKEVERBS_REPORT=1)
    [ "$rdma" = - ] || options+=(-x "FAKECUDA_RDMA=$rdma")
    for word; do
        case $word in
        *=*) options+=(--mca "coll_rdma_${word%%=*}" "${word#*=}") ;;
        *) arguments+=("$word") ;;
        esac
    done
    command=(env "LD_PRELOAD=$fake/${gpu_library:-libfakeverbs}.so" "$TEST_BIN_DIR/../gpu/test_$program" --quick --limit 140
        "${arguments[@]}")
    transport_options "${gpu_transport:-verbs}"
    launch "$log" mpirun "${options[@]}" --mca coll rdma "${command[@]}"
    status=$?
    text=$(<"$log")
    rm -f "$log"
    grep -vE 'coll_rdma: rank .* algorithm=' <<<"$text"
    return $status
}

# The devices read and write the GPUs' memory.
gpu() # RANKS PROGRAM WAY RDMA ARGUMENTS
{
    local ranks=$1

    shift
    gpu_launch "$@" && grep -q 'verbs memory=gpu' <<<"$text" &&
        grep -qE 'verbs: GPU memory: [0-9]+ uses, [0-9]+ registrations' <<<"$text" &&
        awk '/^fakeverbs: /{ ++ranks; bad += $2 != $7 } END { exit !(ranks && !bad) }' <<<"$text"
}

# The same within each machine by CUDA IPC.
gpu_auto()
{
    local gpu_transport=auto

    gpu "$@" && grep -q 'shm+verbs memory=gpu' <<<"$text"
}

# The same by UCX over rc_verbs.
gpu_ucx()
{
    local gpu_transport=rc gpu_library=libfakeucx text ranks=$1 status=0

    shift
    gpu_launch "$@" || status=$?
    { [ $status -eq 0 ] || { grep -q '^test_[a-z0-9_]*: passed' <<<"$text" &&
        grep -q "Assertion .wait_ctx->cb_id == (-1)' failed" <<<"$text"; }; } && # README.md
        grep -q ' transport=ucp memory=gpu' <<<"$text" && grep -q '^fakeucx: ' <<<"$text"
}

# They cannot: the calls go through the host.
gpu_not_reached() # RANKS RDMA
{
    local text ranks=$1

    gpu_launch direct write "$2" --mode far && grep -q ' transport=verbs' <<<"$text" &&
        ! grep -q 'memory=gpu' <<<"$text"
}

# A rank dies while devices read and write GPUs' memory: every other one gets an error, and says why.
gpu_killed() # RANKS WAY MODE
{
    local text ranks=$1 status=0

    gpu_launch killed "$2" - --mode "$3" --seed $RANDOM || status=$?
    echo "exit status $status"
    [ $status -ne 124 ] && [ $status -ne 137 ] && ! grep -qE 'HANG|: FAIL' <<<"$text" &&
        [ "$(grep -c '^test_killed: survivor .* got its error' <<<"$text")" -eq $((ranks - 1)) ] &&
        grep -q ' transport=verbs memory=gpu' <<<"$text" &&
        grep -qE 'the peer has failed|lost process' <<<"$text"
}

# UCX has CUDA, but cannot register the memory.
gpu_ucx_refused() # RANKS
{
    local gpu_transport=rc gpu_library=libfakeucx text ranks=$1

    gpu_launch direct write address --mode far
    grep -q '^test_direct: passed' <<<"$text" && grep -q ' transport=ucp' <<<"$text" &&
        [ "$(grep -c 'UCX cannot register GPU memory, it goes through the host' <<<"$text")" -ge 1 ] &&
        ! grep -q 'memory=gpu' <<<"$text"
}

# One rank is killed, and mpirun is told to let the others live: they must find out by themselves, soon, and
# say what happened.
peer_killed() # RANKS
{
    local log=$LOG_DIR/peer_killed.log text transport_name launched status=0
    local -a options command

    launch_options "$1"
    component_options
    program_command test_kill --mode last --iterations 8 --limit 80
    transport_options verbs
    LIMIT=$KILL_LIMIT launch "$log" mpirun --enable-recovery "${options[@]}" --mca coll rdma "${command[@]}" ||
        status=$?
    text=$(<"$log")
    rm -f "$log"
    echo "$text"
    echo "exit status $status"
    # the exit status is 0 with --enable-recovery, whatever the ranks returned
    [ $status -ne 124 ] && [ $status -ne 137 ] && ! grep -q HANG <<<"$text" &&
        grep -qE 'verbs: port rxe[0-9]:1 lost process [0-9]+ on vm[0-9] ' <<<"$text" &&
        grep -qE 'allreduce|bcast|reduce|barrier' <<<"$(grep 'the peer has failed' <<<"$text")"
}
