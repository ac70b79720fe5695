# shellcheck shell=bash disable=SC2154 # the variables named below
# Running cases (run_cases.sh) one after the other or several at a time, and reporting them as TAP. Sourced,
# not run; needs run_lib.sh, the variables set, seed, list and only, and the
# environment of tests/mpi/run.
#
# What differs between one host and several (tests/hosts/run) are the functions before run_case; a script
# replaces them after sourcing.

# A filter for what trace_rules prints: TRANSPORT
adapt_rules()
{
    cat
}

# The trace says more than trace_check knows of: prints what is wrong. LOG TRANSPORT
check_transports()
{
    :
}

# A reason to skip a case whose program failed, or nothing. LOG
excuse()
{
    :
}

# Before and after a job that is killed. The TMPDIR of its own: whatever is in it afterwards was left behind.
prepare_leftovers() # NUMBER
{
    mkdir "$LOG_DIR/$1.tmp"
    export TMPDIR=$LOG_DIR/$1.tmp
    shm_before=$(ls -A /dev/shm)
}

left_behind() # NUMBER
{
    {
        find "$LOG_DIR/$1.tmp" -mindepth 1 ! -type d
        lasting_shm_entries "$shm_before"
    } | sed 's/^/left behind: /'
}

# run_case NUMBER LINE: leaves LOG_DIR/NUMBER.log, and NUMBER.result: "ok", "not ok REASON" or
# "skip REASON".
run_case()
{
    local number=$1 kind ranks transport variant program status pair result=ok
    local log=$LOG_DIR/$number.log transport_name= mode
    local -a options command

    trap 'kill "$launched" 2>/dev/null; wait; exit 130' INT TERM
    IFS='|' read -r kind ranks transport variant program <<<"$2"
    if [ "$kind" = call ]; then
        call_result "$log" $program >"$LOG_DIR/$number.result"
        return
    fi
    launch_options "$ranks"
    program_command $program
    if [ $transport = stock ]; then
        [ "${program%.py}" != "$program" ] || command+=(--seed "$seed" --stock)
    else
        component_options
        options+=(--mca coll rdma)
        transport_options "$transport"
        for pair in $(variant_parameters "$variant" "$ranks"); do
            options+=(--mca "coll_rdma_${pair%%=*}" "${pair#*=}")
        done
        [ "${program%.py}" != "$program" ] || command+=(--seed "$seed")
    fi
    case $kind in
    served) options+=(--mca coll_rdma_verbose 2) ;;
    kill)
        prepare_leftovers "$number"
        LIMIT=30
        ;;
    fatal) LIMIT=40 ;;
    esac
    [[ $program != *"--mode spawn"* ]] || LIMIT=60
    [ "${program%% *}" != test_big ] || { LIMIT=600; command+=(--limit 590); }

    launch "$log" "${mpirun_command[@]}" "${options[@]}" "${command[@]}"
    status=$?
    case $kind in
    plain | served)
        if [ $status -ne 0 ] && [[ $program == *"--mode spawn"* ]] && ! spawns "$ranks"; then
            result="skip Open MPI $mpirun_version itself cannot connect spawned processes here"
        elif [ $status -eq 77 ]; then
            result="skip $(sed -n 's/^test_[a-z0-9_]*: SKIP //p' "$log" | head -1)"
        elif [ $status -ne 0 ] && [ -n "$(excuse "$log")" ]; then
            result="skip $(excuse "$log")"
        elif [ $status -ne 0 ]; then
            result="not ok exit status $status"
        elif ! grep -q '^test_[a-z0-9_]*: \(passed\|[0-9]* of\)' "$log"; then
            result="not ok the program did not say that it passed"
        fi
        ;;
    fatal | kill)
        if [ $status -eq 124 ] || [ $status -eq 0 ] || grep -qE 'HANG|: FAIL' "$log"; then
            result="not ok exit status $status"
        fi
        ;;
    esac
    if [ "$result" = ok ] && [ $kind = served ]; then
        status=$(trace_check "$log" "$ranks" "$transport_name" \
            "$(trace_rules "$variant" "$ranks" | adapt_rules "$transport")"
            check_transports "$log" "$transport")
    elif [ "$result" = ok ] && [ $kind = fatal ]; then
        mode=${program##* }
        status=$(fatal_check "$log" "$mode")
    elif [ "$result" = ok ] && [ $kind = kill ]; then
        status=$(left_behind "$number")
    else
        status=
    fi
    if [ -n "$status" ]; then
        result="not ok $(head -1 <<<"$status")"
        printf '%s\n' "$status" >>"$log"
    fi
    rm -rf "$LOG_DIR/$number.tmp"
    echo "$result" >"$LOG_DIR/$number.result"
}

# call_result LOG FUNCTION [ARGUMENTS]: prints the result of a case of kind `call`.
call_result()
{
    local log=$1 status

    shift
    echo "command: $*" >"$log"
    ("$@") >>"$log" 2>&1 </dev/null
    status=$?
    case $status in
    0) echo ok ;;
    77) echo "skip $(tail -n 1 "$log")" ;;
    *) echo "not ok $* returned $status" ;;
    esac
}

# A case of kind `call`: /dev/shm has no room. Open MPI does without it, and the component serves all the
# same, since its memory has no name.
little_shm() # RANKS
{
    local log=$LOG_DIR/little_shm status
    local -a options

    if ! unshare -m true 2>/dev/null; then
        echo "no mounts of one's own here (root)"
        return 77
    fi
    launch_options "$1"
    component_options
    # shellcheck disable=SC2016 # for the other shell
    LIMIT=60 launch "$log" unshare -m sh -c 'mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "$@"' sh \
        "${mpirun_command[@]}" "${options[@]}" --mca coll rdma --mca coll_rdma_transport shm \
        --mca coll_rdma_verbose 1 "$TEST_BIN_DIR/test_setup" --quick
    status=$?
    cat "$log"
    [ $status -eq 0 ] && grep -q 'MPI_COMM_WORLD): rank 0/.* ready' "$log"
    status=$?
    rm -f "$log"
    return $status
}

# A case of kind `call`: there is memory for a few communicators only. All ranks leave the others to the components
# below, and one line says so.
little_memory() # RANKS
{
    local log=$LOG_DIR/little_memory least=1 said status program
    local -a options

    launch_options "$1"
    component_options
    for program in "test_comms --mode many" "test_setup --mode all"; do
        # shellcheck disable=SC2086 # the words of the program
        LIMIT=60 launch "$log" "${mpirun_command[@]}" "${options[@]}" --mca coll rdma \
            --mca coll_rdma_transport shm --mca coll_rdma_memory_limit 300000 \
            "$TEST_BIN_DIR/"$program --quick
        status=$?
        said=$(grep -c 'left to other components: no preregistered memory left' "$log")
        # by one rank; but of a communicator of some ranks another one may tell
        if [ $status -ne 0 ] || [ "$said" -lt $least ] || [ "$said" -gt "$1" ]; then
            cat "$log"
            echo "exit status $status, $said lines"
            return 1
        fi
        least=0 # the others keep fewer alive: two ranks may have room for them
    done
    rm -f "$log"
}

# spawns RANKS: whether MPI_Comm_spawn and the first messages work here without the component. Between
# isolated network interfaces they do not.
spawns()
{
    local -a options

    launch_options "$1"
    LIMIT=30 launch "$LOG_DIR/spawn.log" "${mpirun_command[@]}" "${options[@]}" "$TEST_BIN_DIR/test_comms" \
        --mode spawn
}

passed=0 failed=0 skipped=0

# report NUMBER LINE
report()
{
    local result log=$LOG_DIR/$1.log

    result=$(cat "$LOG_DIR/$1.result" 2>/dev/null || echo "not ok no result")
    case $result in
    ok)
        passed=$((passed + 1))
        echo "ok $1 - $2"
        rm -f "$log"
        ;;
    skip*)
        skipped=$((skipped + 1))
        echo "ok $1 - $2 # SKIP ${result#skip }"
        rm -f "$log"
        ;;
    *)
        failed=$((failed + 1))
        echo "not ok $1 - $2"
        echo "# ${result#not ok }; log: $log"
        head -n 1 "$log" | sed 's/^/# /'
        tail -n +2 "$log" | tail -n 20 | sed 's/^/# /'
        ;;
    esac
    rm -f "$LOG_DIR/$1.result"
}

# run_cases: the cases of the set `set` that match `only`, from case number `from` (1) on. Returns 0 if none
# failed.
run_cases()
{
    local started=$((${from:-1} - 1)) reported=$((${from:-1} - 1)) left own_logs= shm_at_start
    local -a cases pids

    mapfile -t cases < <("cases_$set" | awk '!seen[$0]++' | grep -E -- "$only")
    if [ -n "$list" ]; then
        printf '%s\n' "${cases[@]}"
        exit 0
    fi
    if [ ${#cases[@]} -eq 0 ]; then
        echo "Bail out! No case matches $only"
        exit 2
    fi
    if [ ! -x "$TEST_BIN_DIR/test_basic" ]; then
        echo "Bail out! No test programs: set TEST_BIN_DIR"
        exit 2
    fi
    if [ $set != stock ] && [ ! -e "$COMPONENT_DIR/mca_coll_rdma.so" ]; then
        echo "Bail out! No mca_coll_rdma.so: set COMPONENT_DIR"
        exit 2
    fi

    if [ -n "$LOG_DIR" ]; then
        mkdir -p "$LOG_DIR"
    else
        LOG_DIR=$(mktemp -d "${TMPDIR:-/tmp}/coll_rdma_tests.XXXXXX")
        own_logs=1
    fi
    trap 'kill $(jobs -p) 2>/dev/null; exit 130' INT TERM

    JOBS=${JOBS:-1}
    if [ "$started" -eq 0 ]; then
        echo "TAP version 12"
        echo "1..${#cases[@]}"
    fi
    echo "# Open MPI $mpirun_version, $CORES cores, $(date '+%F %T')"
    shm_at_start=$(ls -A /dev/shm)
    while [ $reported -lt ${#cases[@]} ]; do
        while [ $started -lt ${#cases[@]} ] && [ $((started - reported)) -lt "$JOBS" ]; do
            run_case $((started + 1)) "${cases[started]}" &
            pids[started]=$!
            started=$((started + 1))
        done
        wait "${pids[reported]}"
        report $((reported + 1)) "${cases[reported]}"
        reported=$((reported + 1))
    done

    left=$(lasting_shm_entries "$shm_at_start")
    if [ -n "$left" ]; then
        failed=$((failed + 1))
        sed 's/^/# left behind: /' <<<"$left"
    fi
    rm -f "$LOG_DIR/spawn.log"
    [ -z "$own_logs" ] || rmdir "$LOG_DIR" 2>/dev/null || echo "# logs: $LOG_DIR"
    echo "# $SECONDS s"
    echo "$passed passed, $failed failed, $skipped skipped"
    [ $failed -eq 0 ]
}
