# shellcheck shell=bash disable=SC2154 # the variables named below
# What tests/hosts/hosts is made of: holders, networks, processes. Sourced, not run; needs here, self, id
# and state (the folder).
#
# In the folder: count, mark (the value of CRDMA_HOSTS in all that runs in the hosts), etc_hosts,
# NAME.pid (the holder's process id and network namespace) and the folder NAME (TMPDIR) for each host,
# netdelay.pid, netdelay.log.

die()
{
    echo "hosts: $*" >&2
    exit 1
}

lack()
{
    echo "hosts: skipped: $*"
    exit 77
}

# what_lacks EMULATED: ends with 77 if something does.
what_lacks()
{
    local tool

    [ "$(id -u)" -eq 0 ] || lack "making network namespaces needs root"
    for tool in ip:iproute2 unshare:util-linux nsenter:util-linux setsid:util-linux; do
        command -v "${tool%:*}" >/dev/null || lack "${tool%:*} is missing (package ${tool#*:})"
    done
    unshare --net --uts --ipc --mount sh -c 'umount -l /sys; mount -t sysfs sysfs /sys' 2>/dev/null ||
        lack "no network namespace with its own /sys can be made here"
    unshare --net sh -c 'ip link add name x1 type veth peer name x2 &&
        ip link add name x3 type bridge' \
        2>/dev/null || lack "the kernel has no veth interfaces or no bridge"
    if [ "$1" -gt 0 ]; then
        { : <>/dev/net/tun; } 2>/dev/null || lack "/dev/net/tun cannot be opened"
        [ -n "$(netdelay_program)" ] || lack "netdelay is not built (make tests-build, HOSTS_BIN_DIR)"
    fi
}

netdelay_program()
{
    local folder

    for folder in "${HOSTS_BIN_DIR:-}" "$here" "$here/../../build/tests/hosts"; do
        if [ -n "$folder" ] && [ -x "$folder/netdelay" ]; then
            (cd "$folder" && printf '%s/netdelay' "$(pwd)")
            return
        fi
    done
}

is_up()
{
    [ -O "$state/count" ] || die "no testbed $id is up ($state)"
}

# --- hosts

write_hosts_file()
{
    local i

    printf '127.0.0.1 localhost\n10.78.0.253 head\n'
    for ((i = 0; i < $1; ++i)); do
        printf '10.78.0.%d h%d\n' $((i + 1)) "$i"
    done
}

# start_holder NAME: the process whose namespaces are the host. It tells its process id when it is ready.
start_holder()
{
    local mark

    mark=$(cat "$state/mark")
    mkdir "$state/$1" || exit 1
    # shellcheck disable=SC2016 # expanded by the shell inside
    CRDMA_HOSTS=$mark setsid unshare --net --uts --ipc --mount --propagation slave sh -c '
        cd / && hostname "$1" && umount -l /sys && mount -t sysfs sysfs /sys &&
            mount -t tmpfs -o mode=1777 tmpfs /dev/shm && mount --bind "$2/etc_hosts" /etc/hosts &&
            ip link set lo up &&
            for family in all default; do
                echo 1 >/proc/sys/net/ipv6/conf/$family/disable_ipv6 || true
            done 2>/dev/null &&
            echo "$$ $(readlink /proc/$$/ns/net)" >"$2/$1.new" && mv "$2/$1.new" "$2/$1.pid" &&
            exec sleep infinity' \
        sh "$1" "$state" </dev/null >"$state/$1.log" 2>&1 &
}

wait_for_holders()
{
    local name try

    for name; do
        for ((try = 0; try < 200; ++try)); do
            [ ! -e "$state/$name.pid" ] || break
            sleep 0.05
        done
        [ -e "$state/$name.pid" ] || die "host $name did not start: $(cat "$state/$name.log")"
    done
}

holder()
{
    local pid

    read -r pid _ <"$state/$1.pid" && printf '%s' "$pid"
}

# enter NAME COMMAND..: becomes the command, in the host and in the folder of the caller.
enter()
{
    local name=$1

    shift
    CRDMA_HOSTS=$(cat "$state/mark") TMPDIR=$state/$name HOSTS_DIR=$(dirname "$state") HOSTS_ID=$id \
        exec nsenter -t "$(holder "$name")" --net --uts --ipc --mount env -C "$PWD" "$@"
}

# inside NAME COMMAND..: the command in the host's network, with the files of the machine.
inside()
{
    local name=$1

    shift
    nsenter -t "$(holder "$name")" --net "$@"
}

# links NAME: link, address, route and neighbour commands for `ip`, one per line of the input.
links()
{
    inside "$1" ip -batch - || die "the network of $1 cannot be set up"
}

# --- networks

make_switch()
{
    links switch <<'END'
link add name control type bridge mcast_snooping 0
link set dev control up
link add name data type bridge mcast_snooping 0
link set dev data up
END
}

# join_control NAME NUMBER: ctl0, a veth whose other end is at the control bridge.
join_control()
{
    links switch <<END
link add name c$2 type veth peer name ctl0 netns $(holder "$1")
link set dev c$2 master control up
END
    links "$1" <<END
addr add 10.78.0.$2/24 dev ctl0
link set ctl0 up
END
}

# plug_into_bridge NAME INDEX MTU: eth0, a veth whose other end is at the data bridge.
plug_into_bridge()
{
    links switch <<END
link add name d$2 type veth peer name eth0 netns $(holder "$1")
link set dev d$2 mtu $3 master data up
END
}

# join_data NAME INDEX COUNT MTU: eth0. Neighbours are told, not asked for: no ARP in measurements. A
# connection starts with a large window and keeps it, as long-lived ones of a job have it.
join_data()
{
    local i mac=02:00:00:00:00

    inside "$1" sh -c '
        cd /proc/sys/net/ipv4
        echo reno >tcp_congestion_control
        echo 0 >tcp_slow_start_after_idle
        echo 1 >tcp_no_metrics_save' || die "TCP in $1 cannot be set up"
    {
        printf 'link set eth0 address %s:%02x mtu %s txqueuelen 10000 up\n' $mac $(($2 + 1)) "$4"
        printf 'addr add 10.77.0.%d/24 dev eth0\n' $(($2 + 1))
        printf 'route change 10.77.0.0/24 dev eth0 src 10.77.0.%d initcwnd 1000 initrwnd 1000\n' \
            $(($2 + 1))
        for ((i = 0; i < $3; ++i)); do
            [ "$i" -eq "$2" ] || printf 'neigh replace 10.77.0.%d lladdr %s:%02x dev eth0 nud permanent\n' \
                $((i + 1)) $mac $((i + 1))
        done
    } | links "$1"
}

# start_netdelay COUNT OPTIONS..: eth0 of all hosts are its TAPs.
start_netdelay()
{
    local count=$1 i files=() mark

    shift
    mark=$(cat "$state/mark")
    for ((i = 0; i < count; ++i)); do
        files+=("/proc/$(holder "h$i")/ns/net")
    done
    CRDMA_HOSTS=$mark setsid "$(netdelay_program)" "$@" eth0 "${files[@]}" </dev/null \
        >"$state/netdelay.log" 2>&1 &
    echo $! >"$state/netdelay.pid"
    for ((i = 0; i < 100; ++i)); do
        ! grep -qs '^ready' "$state/netdelay.log" || return 0
        kill -0 $! 2>/dev/null || break
        sleep 0.05
    done
    die "netdelay did not start: $(cat "$state/netdelay.log")"
}

is_netdelay()
{
    has_mark "$1" && [ "$(cat "/proc/$1/comm" 2>/dev/null)" = netdelay ]
}

# Ends it, and prints what it counted.
stop_netdelay()
{
    local pid try

    [ -e "$state/netdelay.pid" ] || return 0
    pid=$(cat "$state/netdelay.pid")
    if is_netdelay "$pid"; then
        kill -TERM "$pid"
        for ((try = 0; try < 40; ++try)); do
            [ -d "/proc/$pid" ] || break
            sleep 0.05
        done
        ! is_netdelay "$pid" || kill -KILL "$pid"
    fi
    grep -v '^ready' "$state/netdelay.log"
    return 0
}

# --- processes

has_mark()
{
    [ -e "$state/mark" ] && grep -qzxF "CRDMA_HOSTS=$(cat "$state/mark")" "/proc/$1/environ" 2>/dev/null
}

# The holders that live. A process id that now belongs to something else does not have the mark.
holders()
{
    local file pid

    for file in "$state"/*.pid; do
        if [ "${file##*/}" != netdelay.pid ] && [ -e "$file" ]; then
            read -r pid _ <"$file"
            ! has_mark "$pid" || echo "$pid"
        fi
    done
}

# All others in the hosts: in the network namespace of a living holder, or, if holders have died, with the
# mark. (The number of a namespace that is gone may come back as another's.)
processes_inside()
{
    local pid own file number living=() netdelay

    own=" $(holders | tr '\n' ' ') "
    netdelay=$(cat "$state/netdelay.pid" 2>/dev/null)
    for file in "$state"/*.pid; do
        [ -e "$file" ] || continue
        read -r pid number <"$file"
        [[ $own != *" $pid "* ]] || living+=(${living:+-o} -lname "${number//[\[\]]/?}")
    done
    {
        [ ${#living[@]} -eq 0 ] ||
            find /proc/[0-9]*/ns/net -maxdepth 0 \( "${living[@]}" \) 2>/dev/null | cut -d/ -f3
        grep -lzxF "CRDMA_HOSTS=$(cat "$state/mark")" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3
    } | sort -un | while read -r pid; do
        [[ "$own $netdelay $$ " == *" $pid "* ]] || echo "$pid"
    done
}

# end_processes LIST: politely, then for sure.
end_processes()
{
    local pid try left=$1

    [ -n "$left" ] || return 0
    # shellcheck disable=SC2086 # a list of words
    kill -TERM $left 2>/dev/null
    for ((try = 0; try < 40; ++try)); do
        left=$(for pid in $left; do [ ! -d "/proc/$pid" ] || is_zombie "$pid" || echo "$pid"; done)
        [ -n "$left" ] || return 0
        # shellcheck disable=SC2086 # a list of words
        [ "$try" -lt 20 ] || kill -KILL $left 2>/dev/null
        sleep 0.05
    done
}

is_zombie()
{
    grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null
}

# --- Open MPI

# What mpirun needs here goes through the environment, so that its command line can say otherwise; the
# variables of both series stand side by side. No host sees that all share the processors.
mpirun_environment()
{
    local agent="$self --id $id agent"

    default OMPI_MCA_plm=rsh OMPI_MCA_plm_rsh_agent="$agent" OMPI_MCA_plm_rsh_no_tree_spawn=1 \
        OMPI_MCA_routed=direct OMPI_MCA_oob_tcp_if_include=ctl0 \
        OMPI_MCA_rmaps_base_mapping_policy=slot OMPI_MCA_hwloc_base_binding_policy=none
    default PRTE_MCA_plm=ssh PRTE_MCA_plm_ssh_agent="$agent" PRTE_MCA_plm_ssh_no_tree_spawn=1 \
        PRTE_MCA_prte_if_include=ctl0 PRTE_MCA_rmaps_default_mapping_policy=slot \
        PRTE_MCA_hwloc_default_binding_policy=none
    default OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,vader,tcp OMPI_MCA_btl_tcp_if_include=eth0 \
        OMPI_MCA_opal_common_ucx_tls=any OMPI_MCA_opal_common_ucx_devices=any \
        OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_coll_rdma_spin=1 \
        UCX_TLS=tcp,self,sm UCX_NET_DEVICES=eth0
    default OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PRTE_ALLOW_RUN_AS_ROOT=1 \
        PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1
}

# default NAME=VALUE..: exports those that the caller has not set.
default()
{
    local pair name

    for pair; do
        name=${pair%%=*}
        [ -n "${!name:-}" ] || export "${pair?}"
    done
}
