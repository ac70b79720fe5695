# Launching one MPI job for tests/mpi/run, tests/mpi/alone and tests/mpi/run_valgrind, and reading what
# it left. Sourced, not run.
#
# Set before: here (this folder). Environment, all optional:
#   MPIRUN         mpirun
#   COMPONENT_DIR  folder with mca_coll_rdma.so (default: the build tree's, else the installed one)
#   TEST_BIN_DIR   folder with the compiled programs (default: the build tree's)
#   CRDMA_BUILD    build tree, CRDMA_PREFIX installation: where these two defaults are looked for first
#   PYTHON         interpreter that has mpi4py (default: /usr/bin/python3)
#   CORES          cores to count on (default: nproc)

MPIRUN=${MPIRUN:-mpirun}
PYTHON=${PYTHON:-/usr/bin/python3}
CORES=${CORES:-$(nproc)}
LIMIT=${LIMIT:-120} # seconds per job
mpirun_command=("$MPIRUN")

first_folder_with()
{
    local file=$1 folder

    shift
    for folder; do
        if [ -e "$folder/$file" ]; then
            (cd "$folder" && pwd)
            return
        fi
    done
}

tree=$here/../..
TEST_BIN_DIR=${TEST_BIN_DIR:-$(first_folder_with test_basic "${CRDMA_BUILD:-$tree/build}/tests/mpi" \
    "$tree/build/mpi" "$here")}
COMPONENT_DIR=${COMPONENT_DIR:-$(first_folder_with mca_coll_rdma.so \
    "${CRDMA_PREFIX:-$tree/_install}/lib/openmpi" "${CRDMA_BUILD:-$tree/build}/.libs" \
    "$tree/build/.libs" "$tree/build/coll_rdma/.libs" "$tree/.libs")}

fakexpmem=$TEST_BIN_DIR/../fakexpmem/libxpmem.so.0

mpirun_version=$("$MPIRUN" --version 2>/dev/null | sed -n 's/^mpirun (Open MPI) //p')
mpirun_version=${mpirun_version:-unknown}

# Open MPI refuses root without these; in a container everything is root.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export PRTE_ALLOW_RUN_AS_ROOT=1 PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1

# launch_options RANKS: fills the array `options` with mpirun's own options.
launch_options()
{
    options=(-np "$1" --bind-to none)
    case $mpirun_version in
    4.*)
        options+=(--oversubscribe)
        if [ "$1" -gt "$CORES" ]; then
            options+=(--mca mpi_yield_when_idle 1)
        fi
        ;;
    *) options+=(--map-by :OVERSUBSCRIBE) ;;
    esac
}

# component_options: adds to `options` what makes the component findable. Open MPI 4.1's mpirun needs
# its own plugins beside it; 5.0 has them built in and its launcher overwrites the
# environment variable, but not the command line.
component_options()
{
    case $mpirun_version in
    4.*) options+=(--mca mca_base_component_path "$COMPONENT_DIR:SYSTEM_DEFAULT") ;;
    *) options+=(--mca mca_base_component_path "$COMPONENT_DIR") ;;
    esac
}

# transport_options TRANSPORT: forces it; sets `transport_name` as the trace shows it.
transport_options()
{
    case $1 in
    shm)
        transport_name=shm
        options+=(--mca coll_rdma_transport shm)
        ;;
    # Attached memory, by the stand-in for XPMEM that makes larger allocations attachable.
    xpmem)
        transport_name=shm
        options+=(--mca coll_rdma_transport shm -x "LD_PRELOAD=$fakexpmem" -x FAKEXPMEM_MIN=1024)
        ;;
    posix | tcp | sysv)
        transport_name=ucp
        options+=(--mca coll_rdma_transport ucp -x UCX_TLS)
        export UCX_TLS=$1,self
        ;;
    # Open MPI's own use of UCX in the same process; it wants InfiniBand unless told otherwise.
    pml-ucx | pml-ucx-tcp)
        transport_name=ucp
        options+=(--mca pml ucx --mca pml_ucx_tls any --mca pml_ucx_devices any --mca osc ^ucx
            --mca coll_rdma_transport ucp -x UCX_TLS)
        export UCX_TLS=all
        [ "$1" = pml-ucx ] || UCX_TLS=tcp,self
        ;;
    esac
}

# program_command PROGRAM [ARGUMENTS]: fills `command`.
program_command()
{
    local program=$1

    shift
    case $program in
    *.py) command=("$PYTHON" "$here/$program") ;; # takes no options
    *) command=("$TEST_BIN_DIR/$program" "$@") ;;
    esac
}

# launch LOG COMMAND...: runs it under the time limit, all output into LOG. Returns its exit status.
launch()
{
    local log=$1 status

    shift
    printf 'command:%s' "${UCX_TLS:+ UCX_TLS=$UCX_TLS}" >"$log"
    printf ' %q' "$@" >>"$log"
    printf '\n' >>"$log"
    timeout -k 5 "$LIMIT" "$@" >>"$log" 2>&1 </dev/null &
    launched=$!
    wait "$launched"
    status=$?
    launched=
    # Open MPI's messages may hold zero bytes, for which grep takes the log as binary
    tr -d '\000' <"$log" >"$log.text" && mv "$log.text" "$log"
    if [ $status -eq 124 ] || [ $status -eq 137 ] && grep -q 'HANG' "$log"; then
        echo "time limit of $LIMIT s reached" >>"$log"
    fi
    return $status
}

# trace_check LOG RANKS TRANSPORT_NAMES RULES: prints what is wrong with the trace, nothing if it is
# as it should be. TRANSPORT_NAMES: one, or several between bars. RULES as from trace_rules; "calls" lines of test_served say how many lines
# each rank owes.
trace_check()
{
    local owed

    owed=$(sed -n 's/^test_served: \([0-9]*\) calls on each.*/\1/p' "$1")
    if [ -z "$owed" ]; then
        echo "the program did not say how many calls it made"
        return
    fi
    awk -v ranks="$2" -v transport="$3" -v owed="$owed" -v rules="$4" '
        BEGIN {
            nrules = split(rules, rule, "\n")
            for (r = 1; r <= nrules; ++r) {
                split(rule[r], part, " ")
                how[r] = part[1]; coll[r] = part[2]; least[r] = part[3]; text[r] = part[4]
            }
        }
        # coll_rdma: rank 0/4 cid 3: allreduce 1024 B float sum: algorithm=... transport=shm
        /coll_rdma: rank [0-9]+\/[0-9]+ cid [^:]*: (bcast|reduce|allreduce|barrier)[ :].*algorithm=/ {
            line = substr($0, index($0, "coll_rdma: rank"))
            split(line, word, " ")
            rank = word[3]; sub(/\/.*/, "", rank)
            split(line, piece, ": ")
            split(piece[3], call, " ") # collective, bytes
            bytes = call[2] ~ /^[0-9]+$/ ? call[2] + 0 : 0
            if (word[3] !~ "/" ranks "$") next
            ++lines[rank]
            padded = " " line " "
            way = line; sub(/.* transport=/, "", way); sub(/ .*/, "", way)
            if (!index("|" transport "|", "|" way "|") && !wrong_transport) wrong_transport = line
            for (r = 1; r <= nrules; ++r) {
                if (coll[r] != "*" && coll[r] != call[1] || bytes < least[r]) continue
                if (index(padded, " " text[r] " ")) {
                    ++with[r]; example[r] = line
                } else {
                    ++without[r]; counter[r] = line
                }
            }
        }
        END {
            for (rank = 0; rank < ranks; ++rank)
                if (lines[rank] + 0 < owed)
                    print "rank " rank ": " lines[rank] + 0 " trace lines for " owed " calls"
            if (wrong_transport) print "not transport=" transport ": " wrong_transport
            for (r = 1; r <= nrules; ++r) {
                if (how[r] == "all" && without[r]) print "without " text[r] ": " counter[r]
                if (how[r] == "none" && with[r]) print "with " text[r] ": " example[r]
                if (how[r] ~ /all|some/ && !with[r])
                    print "no line of " coll[r] " from " least[r] " B on with " text[r]
            }
        }' "$1" | head -5
}

# fatal_check LOG MODE: the abort message must name two ranks and what both called.
fatal_check()
{
    local text found
    local -a texts

    case $2 in
    root-fatal) texts=('root 0' 'root 1' 'bcast') ;;
    op-fatal) texts=('sum' 'max' 'allreduce') ;;
    size-fatal) texts=('320' '640' 'allreduce') ;;
    coll-fatal) texts=('allreduce' 'bcast') ;;
    missing-fatal) texts=('allreduce' 'barrier') ;;
    esac
    found=$(grep -iE 'coll_rdma.*rank [0-9]+.*rank [0-9]+' "$1" | grep -v ' algorithm=')
    if [ -z "$found" ]; then
        echo "no message of coll_rdma that names two ranks"
        return
    fi
    for text in "${texts[@]}"; do
        if ! grep -qi "$text" <<<"$found"; then
            echo "the message does not say '$text': $(head -1 <<<"$found")"
        fi
    done
}

# new_shm_entries BEFORE: entries of /dev/shm that are not in the list BEFORE and that no living
# process maps. Other jobs on the machine come and go, theirs are mapped. Open MPI's own segments do
# not count: what it leaves when a job aborts, it leaves without the component too.
new_shm_entries()
{
    local entry

    ls -A /dev/shm | while read -r entry; do
        if ! [[ $entry =~ ^(vader|sm)_segment\. ]] && ! grep -qxF "$entry" <<<"$1" \
            && ! grep -qsF "/dev/shm/$entry" /proc/[0-9]*/maps; then
            echo "/dev/shm/$entry"
        fi
    done
}

# lasting_shm_entries BEFORE: those of new_shm_entries that are still there some seconds later: a
# job may be about to remove its own, and another job about to map them.
lasting_shm_entries()
{
    local try entries

    entries=$(new_shm_entries "$1")
    for try in 1 2 3 4 5 6; do
        [ -n "$entries" ] || return 0
        sleep 0.5
        entries=$(grep -xF "$(new_shm_entries "$1")" <<<"$entries")
    done
    printf '%s\n' "$entries"
}
