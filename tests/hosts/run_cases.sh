# shellcheck shell=bash
# The matrix of tests/hosts/run, in the lines of tests/mpi/run_cases.sh; TRANSPORT is the place,
# HOSTSxRANKS_PER_HOST@TESTBED. Testbeds: plain (a bridge), lossy (0.2 ms, 1 Gbit/s, 1 % loss), far (1 ms, 1
# Gbit/s). Sourced, not run.

all_hosts="2 4 7 16"
all_per_host="1 2 4"

# on KIND PLACE VARIANT PROGRAM [ARGUMENTS]
on()
{
    local kind=$1 place=$2 hosts per_host

    shift 2
    hosts=${place%%x*} per_host=${place#*x}
    add "$kind" $((hosts * ${per_host%@*})) "$place" "$@"
}

cases_testbed()
{
    local function

    for function in testbed_fails testbed_delay testbed_loss testbed_rate testbed_down host_dies gpu_through_host; do
        add call 0 - - $function
    done
}

# What every place gets.
on_common() # PLACE VARIANT
{
    on served "$1" "$2" test_served
    on plain "$1" "$2" test_random --quick
}

cases_quick()
{
    cases_testbed
    on_common 2x1@plain default
    on_common 4x2@plain default
    on_common 7x1@plain default
    on_common 4x2@lossy default
    on_common 16x1@far default
    on kill 4x2@plain default test_kill --mode middle
}

cases_default()
{
    local count per_host variant program mode v=0
    local places=(4x1 2x2 7x1 4x2 2x4)

    cases_testbed
    for count in $all_hosts; do
        for per_host in $all_per_host; do
            on_common "${count}x$per_host@plain" default
        done
    done
    for count in $all_hosts; do
        on plain "${count}x1@plain" default test_basic --quick
    done
    for variant in $algorithm_variants $protocol_variants; do
        on served "${places[v % 5]}@plain" "$variant" test_served
        [ $((v % 2)) -eq 0 ] || on plain "${places[v % 5]}@plain" "$variant" test_random --quick
        v=$((v + 1))
    done
    for program in test_ops test_userops test_datatypes test_bits test_comms test_threads; do
        on plain 4x2@plain default $program --quick
        on plain 7x1@plain default $program --quick
    done
    for program in test_basic test_comms; do
        on plain 4x2@lossy default $program --quick
    done
    on_common 4x2@lossy default
    on_common 7x1@lossy default
    on_common 16x1@far default
    on_common 16x2@far default
    for mode in root op size coll missing; do
        on fatal 2x2@plain default test_mismatch --mode $mode-fatal
    done
    on kill 4x2@plain default test_kill --mode middle
    on kill 7x1@plain default test_kill --mode first
    on kill 4x1@plain default test_kill --mode start
    on kill 4x2@lossy default test_kill --mode last --iterations 20
}

cases_full()
{
    local count per_host variant program mode place

    cases_testbed
    for count in $all_hosts; do
        for per_host in $all_per_host; do
            place=${count}x$per_host@plain
            for variant in $all_variants; do
                on_common "$place" "$variant"
                on plain "$place" "$variant" test_basic --quick
            done
            for program in test_ops test_userops test_datatypes test_bits test_comms test_threads; do
                on plain "$place" default $program --quick
            done
            for mode in root op size coll missing; do
                on fatal "$place" default test_mismatch --mode $mode-fatal
            done
            for mode in first middle last start; do
                on kill "$place" default test_kill --mode $mode
            done
        done
    done
    for place in 4x2@lossy 7x1@lossy 16x1@far 16x2@far; do
        for variant in $all_variants; do
            on_common $place "$variant"
        done
        on plain $place default test_basic --quick
    done
}
