# The matrix of tests/mpi/run: which program runs with how many ranks, over which transport, with
# which parameters. Sourced, not run.
#
# A case is one line: KIND|RANKS|TRANSPORT|VARIANT|PROGRAM [ARGUMENTS]
#   KIND       plain     passes if the program exits with 0
#              served    plain, and the trace must show what the variant forces
#              fatal     the job must abort with a message that names two ranks and both calls
#              kill      the job must end in time and leave nothing in /dev/shm or its TMPDIR
#              call      PROGRAM is a shell function; passes if it returns 0, 77 skips
#   TRANSPORT  shm | posix | sysv | tcp (ucp, UCX_TLS=posix,self and so on) | stock
#              xpmem (shm over tests/fakexpmem)
#              pml-ucx (ucp, beside Open MPI's pml ucx) | pml-ucx-tcp (so, UCX_TLS=tcp,self)
#   VARIANT    a row of variant_parameters below
#
# One 'served' case stands beside every combination of ranks, transport and variant, so no
# combination passes because another component did the work.

all_ranks="1 2 3 4 5 7 8 16"
all_transports="shm posix tcp"
algorithm_variants="tree-k1 tree-k2 tree-k3 tree-kmax exchange-k1 exchange-k2 exchange-k3
    exchange-kmax rsag-k1 rsag-k2 rsag-k3 rsag-kmax ring"
protocol_variants="messages ll-off ll-more tiny-blocks rendezvous-off rendezvous-write rendezvous-read
    segments wrap two-level spin-0"
all_variants="default $algorithm_variants $protocol_variants"

# variant_parameters VARIANT RANKS: the MCA parameters, one NAME=VALUE per word, without coll_rdma_. Ranks that share
# processors have a board, which knows neither algorithms nor protocols: variants of those do without it.
variant_parameters()
{
    local k=${1##*-k}

    [ "$k" != max ] || k=$(($2 > 1 ? $2 - 1 : 1))
    case $1 in
    default) ;;
    messages) echo "board_max=1" ;;
    tree-k*) echo "bcast_algorithm=tree reduce_algorithm=tree allreduce_algorithm=tree
                   barrier_algorithm=exchange" ;;
    exchange-k*) echo "bcast_algorithm=tree reduce_algorithm=rsag allreduce_algorithm=exchange
                       barrier_algorithm=exchange" ;;
    rsag-k*) echo "bcast_algorithm=scatter_allgather reduce_algorithm=rsag
                   allreduce_algorithm=rsag barrier_algorithm=exchange" ;;
    ring) echo "bcast_algorithm=chain reduce_algorithm=chain allreduce_algorithm=ring" ;;
    ll-off) echo "ll_max=0 board_max=1" ;;
    ll-more) echo "ll_max=1024 board_max=1" ;;
    tiny-blocks) echo "block_size=256 block_count=2 ll_max=64 rendezvous=off board_max=1" ;;
    rendezvous-off) echo "rendezvous=off board_max=1" ;;
    rendezvous-write) echo "rendezvous=write rendezvous_min=1024 ll_max=64 board_max=1" ;;
    rendezvous-read) echo "rendezvous=read rendezvous_min=1024 ll_max=64 board_max=1" ;;
    segments) echo "segment_size=1024" ;;
    wrap) echo "sequence_start=4294967286" ;;
    two-level) echo "two_level=on" ;;
    spin-0) echo "spin=0" ;;
    attached) echo "single_copy=xpmem rendezvous_min=2048 ll_max=64 board_max=1" ;;
    *) echo "no variant $1" >&2; return 1 ;;
    esac
    # Messages, also where ranks share processors; by the board go the variants that leave all open.
    case $1 in
    default | two-level | spin-0) ;;
    *) echo "board_max=1" ;;
    esac
    case $1 in
    *-k*) echo "bcast_degree=$k reduce_degree=$k allreduce_degree=$k barrier_degree=$k board_max=1" ;;
    esac
}

# trace_rules VARIANT RANKS: what the trace lines must show beyond the transport, one rule per line:
#   all COLL MINBYTES TEXT    every line of COLL (* = any) with at least MINBYTES holds TEXT
#   some COLL MINBYTES TEXT   at least one such line does
#   none COLL MINBYTES TEXT   no such line does
# The rules for algorithms and degrees follow from the parameters themselves.
trace_rules()
{
    local pair name value most=$(($2 - 1))

    for pair in $(variant_parameters "$1" "$2"); do
        name=${pair%%=*} value=${pair#*=}
        case $name in
        *_algorithm) echo "all ${name%_algorithm} 0 algorithm=$value" ;;
        *_degree) echo "all ${name%_degree} 0 degree=$((value < most ? value : most))" ;;
        esac
    done
    case $1 in
    messages) echo "none * 0 protocol=board" ;;
    ll-off) echo "none * 1 protocol=ll" ;; # a barrier has 0 bytes, which is not above 0
    ll-more) echo "some * 1 protocol=ll" ;;
    tiny-blocks | rendezvous-off) echo "none * 0 protocol=rendezvous" ;;
    attached)
        echo "some allreduce 65536 single_copy=xpmem"
        echo "some bcast 65536 single_copy=xpmem"
        ;;
    rendezvous-write | rendezvous-read)
        echo "some allreduce 65536 protocol=rendezvous"
        echo "some bcast 65536 protocol=rendezvous"
        ;;
    esac
}

add()
{
    local kind=$1 ranks=$2 transport=$3 variant=$4

    shift 4
    echo "$kind|$ranks|$transport|$variant|$*"
}

# How much a program does: fewer sizes where every call needs many context switches.
effort()
{
    if [ "$1" -ge 7 ] || [ "$2" = tcp ]; then
        echo "--quick"
    fi
}

# The three cases that every combination gets.
add_common()
{
    local ranks=$1 transport=$2 variant=$3

    [ "$ranks" -eq 1 ] || add served "$ranks" "$transport" "$variant" test_served
    add plain "$ranks" "$transport" "$variant" test_basic ${4-$(effort "$ranks" "$transport")}
    add plain "$ranks" "$transport" "$variant" test_random ${4-$(effort "$ranks" "$transport")}
}

# The programs about reductions, datatypes and bits.
add_data()
{
    local program

    for program in test_ops test_userops test_datatypes test_bits; do
        add plain "$1" "$2" "$3" $program ${4-$(effort "$1" "$2")}
    done
}

add_mismatches()
{
    local mode

    for mode in root op size coll missing; do
        add plain "$1" "$2" default test_mismatch --mode $mode
        add fatal "$1" "$2" default test_mismatch --mode $mode-fatal
    done
}

# Communicators whose making overlaps. $3: --quick, or nothing.
add_setups()
{
    local mode

    for mode in all threads files; do
        add plain "$1" "$2" default test_setup --mode $mode ${3-}
    done
    if [ "$2" = shm ]; then
        add call "$1" shm default little_shm "$1"
        add call "$1" shm default little_memory "$1"
    fi
}

# Open MPI's own use of UCX beside ours, where it has one. $1: --quick, or nothing.
add_pml_ucx()
{
    ompi_info --param pml ucx --parsable 2>/dev/null | grep -q '^mca:pml:ucx:' || return 0
    add_common 4 pml-ucx default --quick
    [ -n "$1" ] || add_common 2 pml-ucx default
    add_common 3 pml-ucx-tcp default --quick
}

# Attached memory: every collective, memory that is freed and mapped again, other memory in the same calls, a peer
# that dies. $1: --quick, or nothing. Not with a sanitizer, whose allocator cannot be replaced.
add_xpmem()
{
    local ranks

    [ -e "$fakexpmem" ] || return 0
    ! ldd "$COMPONENT_DIR/mca_coll_rdma.so" | grep -q 'lib[atlu]*san' || return 0
    for ranks in 2 4 7; do
        add_common $ranks xpmem attached --quick
    done
    add plain 2 xpmem attached test_remap --quick
    add plain 4 xpmem attached test_userops --quick
    add kill 3 xpmem attached test_kill --mode last
    [ -z "$1" ] || return 0
    add_common 2 xpmem attached
    add_data 3 xpmem attached
    add plain 4 xpmem attached test_remap
    add plain 2 xpmem attached test_threads --quick
    add plain 2 xpmem attached test_big
    add kill 4 xpmem attached test_kill --mode first
    add fatal 3 xpmem attached test_mismatch --mode size-fatal
}

add_python()
{
    add plain "$1" "$2" default test_mpi4py.py
}

cases_quick()
{
    local transport variant

    for transport in $all_transports; do
        add_common 2 $transport default --quick
        add_common 5 $transport default --quick
    done
    add_common 1 shm default --quick
    add_common 16 shm default --quick
    for variant in tree-k1 tree-kmax exchange-k2 rsag-k1 ring ll-off tiny-blocks rendezvous-write \
        rendezvous-off wrap messages; do
        add_common 4 shm $variant --quick
    done
    add_common 3 posix tiny-blocks --quick
    add_common 3 tcp rendezvous-write --quick
    add_common 3 sysv default --quick
    add_pml_ucx --quick
    add_xpmem --quick
    add_data 2 shm default --quick
    add_data 4 posix default --quick
    add_data 3 shm messages --quick
    add plain 3 shm default test_comms --quick
    add plain 2 shm default test_comms --mode many --quick
    add plain 2 shm default test_dupfree --quick
    add plain 2 shm default test_threads --quick
    add plain 3 posix default test_threads --quick
    add_setups 4 shm --quick
    add_mismatches 2 shm
    add kill 3 shm default test_kill --mode last
    add kill 3 posix default test_kill --mode first
    add kill 3 shm messages test_kill --mode first
    add_python 2 shm
}

cases_default()
{
    local ranks transport variant v=0
    local shm_ranks=(2 3 4 5 7 8 16) ucp_ranks=(3 5 2 4 7) ucp=(posix tcp)

    for ranks in $all_ranks; do
        add_common $ranks shm default
        add_common $ranks posix default
    done
    for ranks in 2 3 4 8; do
        add_common $ranks tcp default
    done
    add_common 4 sysv default
    for ranks in 3 5 8; do
        add_common $ranks shm messages
        add_data $ranks shm messages --quick
    done
    add plain 5 shm messages test_comms --quick
    add plain 4 shm messages test_threads --quick
    add plain 4 shm messages test_dupfree --quick
    add_pml_ucx ''
    add_xpmem ''
    for ranks in 1 2 3 5 8; do
        add_data $ranks shm default
    done
    add_data 4 posix default
    add_data 3 tcp default
    add_data 16 shm default
    for variant in $algorithm_variants $protocol_variants; do
        add_common ${shm_ranks[v % 7]} shm $variant --quick
        add_common ${shm_ranks[(v + 3) % 6]} shm $variant --quick
        add_common ${ucp_ranks[v % 5]} ${ucp[v % 2]} $variant --quick
        v=$((v + 1))
    done
    add plain 4 shm tiny-blocks test_userops --quick
    add plain 5 shm rsag-k2 test_userops --quick
    add plain 7 shm exchange-k2 test_userops --quick
    add plain 3 shm rendezvous-write test_datatypes
    for transport in $all_transports; do
        add plain 3 $transport rendezvous-write test_remap --quick
        add plain 2 $transport rendezvous-read test_remap --quick
    done
    add plain 5 shm rsag-kmax test_bits --quick
    add plain 4 shm ring test_bits --quick
    for ranks in 1 2 3 8; do
        add plain $ranks shm default test_comms
    done
    for transport in posix tcp; do
        add plain 4 $transport default test_comms
        add plain 2 $transport default test_dupfree --quick
        add plain 2 $transport default test_comms --mode many
    done
    add plain 2 shm default test_comms --mode many
    add plain 5 shm default test_comms --mode many --quick
    add_setups 2 shm --quick
    add_setups 4 shm
    add_setups 8 shm --quick
    add_setups 3 posix --quick
    add plain 2 shm default test_comms --mode spawn
    add plain 2 posix default test_comms --mode spawn
    add plain 2 shm default test_dupfree
    add plain 4 shm default test_dupfree
    for transport in $all_transports; do
        add plain 1 $transport default test_threads --quick
        add plain 2 $transport default test_threads
        add plain 4 $transport default test_threads --quick
        add kill 2 $transport default test_kill --mode last
        add kill 4 $transport default test_kill --mode first
        add kill 3 $transport default test_kill --mode start
    done
    add kill 8 shm default test_kill --mode middle
    add kill 3 shm rendezvous-write test_kill --mode last
    add kill 4 shm messages test_kill --mode start
    add_mismatches 2 shm
    add_mismatches 5 shm
    add_mismatches 3 posix
    add_mismatches 2 tcp
    add plain 2 shm default test_big
    for ranks in 1 2 3 5; do
        add_python $ranks shm
    done
    add_python 3 tcp
}

cases_full()
{
    local ranks transport variant mode

    for transport in $all_transports; do
        for ranks in $all_ranks; do
            for variant in $all_variants; do
                add_common $ranks $transport $variant
                add_data $ranks $transport $variant
            done
            add plain $ranks $transport default test_comms
            add plain $ranks $transport default test_comms --mode many
            add plain $ranks $transport default test_threads
            add_setups $ranks $transport
            add_python $ranks $transport
            if [ $ranks -gt 1 ]; then
                add_mismatches $ranks $transport
                for mode in first middle last start; do
                    add kill $ranks $transport default test_kill --mode $mode
                done
            fi
        done
        add plain 2 $transport default test_comms --mode spawn
        for ranks in 1 2 4 8; do
            add plain $ranks $transport default test_dupfree
            add plain $ranks $transport rendezvous-write test_remap
            add plain $ranks $transport rendezvous-read test_remap
        done
        add plain 2 $transport default test_big
    done
}

# Without the component: what the suite itself can show on any MPI library.
cases_stock()
{
    local ranks

    for ranks in ${1:-$all_ranks}; do
        add plain $ranks stock default test_served
        add plain $ranks stock default test_basic $(effort $ranks stock)
        add plain $ranks stock default test_random
        add_data $ranks stock default
        add plain $ranks stock default test_comms $(effort $ranks stock)
        add plain $ranks stock default test_comms --mode many --quick
        add plain $ranks stock default test_threads $(effort $ranks stock)
        add plain $ranks stock default test_setup $(effort $ranks stock)
        add_python $ranks stock
    done
    add plain 2 stock default test_comms --mode spawn
    add plain 2 stock default test_dupfree
    add kill 3 stock default test_kill --mode last
    add plain 2 stock default test_big
}
