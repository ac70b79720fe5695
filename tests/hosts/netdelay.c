/*
 * An Ethernet switch in user space, with a one-way delay, a rate per port and random loss, for
 * kernels that have no netem. tests/hosts/hosts starts it; wire.h has the timing.
 *
 * usage: netdelay [OPTIONS] INTERFACE NAMESPACE...
 *   --delay US    one-way delay, microseconds (0)    --loss PERCENT  of the frames (0)
 *   --rate MBIT   of each port, 0: unlimited (0)     --seed N        which ones (1)
 *
 * Port i is a TAP called INTERFACE in the i-th NAMESPACE (a file such as /proc/PID/ns/net); whoever
 * starts this sets its address to 02:00:00:00:00:<i+1>, by which frames find their port. Prints
 * "ready" when all TAPs are there, statistics at the end and on SIGUSR1.
 *
 * Keeping time with few cycles: one thread with real-time priority sleeps until the next frame is
 * due or a TAP has something, then takes all that is there. Segmented TCP frames (up to 64 KB) are
 * carried whole, each as one frame of that length on the wire with the headers its segments would
 * have; so the cost per byte is low, and their first segment comes with the last. With loss they
 * would be lost whole, so then the TAPs do not offer segmentation.
 *
 * A frame's time of sending is when it was read. Lateness is from when it should have been handed
 * to the receiver to when that began. ARP is never lost.
 */
#define _GNU_SOURCE
#include "tests/hosts/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum {
    VNET = sizeof(struct virtio_net_hdr), /* in front of every frame on a TAP */
    ON_THE_WIRE = 24,                     /* preamble 8, checksum 4, gap 12 bytes per frame */
    READS = 16,                           /* of one port, before others get their turn */
    WRITES = 32,                          /* before ports are read again */
    SHORT_SLEEP = 3000, /* ns: sleeping that long takes longer than looking again */
    PRIORITY = 50,
    SIGNALS = WIRE_PORTS /* number of the signal descriptor among the ports */
};

#define MEMORY ((size_t)512 << 20)

typedef struct netdelay {
    wire_t wire;
    int taps[WIRE_PORTS];
    int poll, signals;
    uint64_t delivered, refused, wakeups;
    uint64_t late_sum, late_max;
} netdelay_t;

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fail(const char *what)
{
    fprintf(stderr, "netdelay: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* A number from 0 to `most`. */
static double number(const char *option, const char *text, double most)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || '\0' != *end || !(0 <= value && value <= most)) {
        fprintf(stderr, "netdelay: --%s %s: not a number from 0 to %g\n", option, text, most);
        exit(2);
    }
    return value;
}

/* Returns the index of the first argument that is no option. */
static int parse(int argc, char **argv, wire_config_t *config)
{
    static const struct option options[] = {{"delay", required_argument, NULL, 'd'},
                                            {"rate", required_argument, NULL, 'r'},
                                            {"loss", required_argument, NULL, 'l'},
                                            {"seed", required_argument, NULL, 's'},
                                            {NULL, 0, NULL, 0}};
    int option;
    double rate;

    *config = (wire_config_t){.seed = 1, .memory = MEMORY};
    while (-1 != (option = getopt_long(argc, argv, "+", options, NULL))) {
        switch (option) {
        case 'd':
            config->delay = (uint64_t)(1000 * number("delay", optarg, 1e8));
            break;
        case 'r':
            rate = number("rate", optarg, 1e6);
            config->ns_per_byte = 0 < rate ? 8000 / rate : 0;
            break;
        case 'l':
            config->loss = number("loss", optarg, 100) / 100;
            break;
        case 's':
            config->seed = strtoull(optarg, NULL, 0);
            break;
        default:
            exit(2);
        }
    }
    config->ports = argc - optind - 1;
    if (1 > config->ports || WIRE_PORTS < config->ports) {
        fprintf(stderr, "usage: netdelay [--delay US] [--rate MBIT] [--loss PERCENT] [--seed N] "
                        "INTERFACE NAMESPACE...\n");
        exit(2);
    }
    return optind;
}

/* A TAP in another network namespace; this process comes back to its own. */
static int open_tap(const char *interface, const char *namespace, bool segmentation)
{
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int there = open(namespace, O_RDONLY | O_CLOEXEC);
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int tap, header = VNET;

    if (0 > home || 0 > there || 0 != setns(there, CLONE_NEWNET)) {
        fail(namespace);
    }
    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", interface);
    tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (0 > tap || 0 != ioctl(tap, TUNSETIFF, &request)) {
        fail("/dev/net/tun");
    }
    /* Checksums need not be computed: nothing is damaged between two processes. */
    if (0 != ioctl(tap, TUNSETVNETHDRSZ, &header) ||
        0 != ioctl(tap, TUNSETOFFLOAD, TUN_F_CSUM | (segmentation ? TUN_F_TSO4 : 0))) {
        fail("offloading of the TAP");
    }
    if (0 != setns(home, CLONE_NEWNET)) {
        fail("/proc/self/ns/net");
    }
    close(there);
    close(home);
    return tap;
}

static void watch(netdelay_t *n, int descriptor, uint32_t which)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = which};

    if (0 != epoll_ctl(n->poll, EPOLL_CTL_ADD, descriptor, &event)) {
        fail("epoll_ctl");
    }
}

/* What delays this process delays every frame. */
static void become_punctual(void)
{
    struct sched_param priority = {.sched_priority = PRIORITY};

    if (0 != sched_setscheduler(0, SCHED_FIFO, &priority)) {
        fprintf(stderr, "netdelay: no real-time priority: %s\n", strerror(errno));
    }
    (void)prctl(PR_SET_TIMERSLACK, 1);
    (void)mlockall(MCL_CURRENT | MCL_FUTURE);
}

static void report(const netdelay_t *n)
{
    const wire_counts_t *c = &n->wire.counts;

    fprintf(stderr,
            "frames %llu bytes %llu lost %llu overflowed %llu refused %llu delivered %llu "
            "mean-late-us %.1f max-late-us %.1f wakeups %llu\n",
            (unsigned long long)c->frames, (unsigned long long)c->bytes,
            (unsigned long long)c->lost, (unsigned long long)c->overflowed,
            (unsigned long long)n->refused, (unsigned long long)n->delivered,
            0 < n->delivered ? (double)n->late_sum / 1000 / (double)n->delivered : 0,
            (double)n->late_max / 1000, (unsigned long long)n->wakeups);
}

/* What a frame of a TAP takes on the wire: every segment has the headers, and its gap. */
static size_t bytes_on_wire(const unsigned char *buffer, size_t length)
{
    struct virtio_net_hdr header;
    size_t frame = length - VNET, segments = 1, headers = 0;

    memcpy(&header, buffer, sizeof(header));
    if (VIRTIO_NET_HDR_GSO_NONE != header.gso_type && 0 < header.gso_size &&
        header.hdr_len < frame) {
        headers = header.hdr_len;
        segments = (frame - headers + header.gso_size - 1) / header.gso_size;
    }
    return frame + (segments - 1) * headers + segments * ON_THE_WIRE;
}

/* Reads one frame of the port and sends it. Returns false if there was none. */
static bool read_frame(netdelay_t *n, int port)
{
    unsigned char *buffer = wire_buffer(&n->wire);
    const unsigned char *to = buffer + VNET;
    ssize_t length = read(n->taps[port], buffer, WIRE_FRAME);
    bool is_arp;
    int receiver;

    if (length < (ssize_t)(VNET + sizeof(struct ether_header))) {
        return 0 < length;
    }
    receiver = 0 != (to[0] & 1) ? WIRE_EVERYBODY : to[5] - 1;
    if (WIRE_EVERYBODY != receiver &&
        (2 != to[0] || 0 > receiver || n->wire.config.ports <= receiver)) {
        return true; /* nobody has this address */
    }
    is_arp = ETHERTYPE_ARP == (to[2 * ETH_ALEN] << 8 | to[2 * ETH_ALEN + 1]);
    wire_send(&n->wire, (size_t)length, bytes_on_wire(buffer, (size_t)length), port, receiver,
              is_arp, now());
    return true;
}

/* Hands over what is due. */
static void deliver(netdelay_t *n)
{
    wire_frame_t *frame;
    uint64_t due, time;

    for (int i = 0; i < WRITES; ++i) {
        time = now();
        frame = wire_take(&n->wire, time, &due);
        if (NULL == frame) {
            return;
        }
        n->late_sum += time - due;
        n->late_max = n->late_max > time - due ? n->late_max : time - due;
        ++n->delivered;
        if ((ssize_t)frame->length != write(n->taps[frame->to], frame->data, frame->length)) {
            ++n->refused; /* the interface is down */
        }
        wire_release(&n->wire, frame);
    }
}

/* Sleeps until something is due or comes in; takes what came in. Returns false to end. */
static bool collect(netdelay_t *n)
{
    struct epoll_event events[64];
    struct timespec timeout = {0, 0};
    uint64_t next = wire_next(&n->wire), time = now();
    int count;

    if (next > time + SHORT_SLEEP) {
        timeout.tv_sec = (time_t)((next - time) / 1000000000u);
        timeout.tv_nsec = (long)((next - time) % 1000000000u);
        ++n->wakeups;
    }
    count = epoll_pwait2(n->poll, events, 64, WIRE_NEVER == next ? NULL : &timeout, NULL);
    if (0 > count && EINTR != errno) {
        fail("epoll_pwait2");
    }
    for (int i = 0; i < count; ++i) {
        if (SIGNALS == events[i].data.u32) {
            struct signalfd_siginfo signal;

            if (sizeof(signal) == read(n->signals, &signal, sizeof(signal))) {
                if (SIGUSR1 != signal.ssi_signo) {
                    return false;
                }
                report(n);
            }
            continue;
        }
        for (int k = 0; k < READS && read_frame(n, (int)events[i].data.u32); ++k) {
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    static netdelay_t n;
    wire_config_t config;
    int first = parse(argc, argv, &config);
    sigset_t signals;

    if (!wire_init(&n.wire, &config)) {
        fail("memory");
    }
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    n.signals = signalfd(-1, &signals, SFD_CLOEXEC);
    n.poll = epoll_create1(EPOLL_CLOEXEC);
    if (0 > n.signals || 0 > n.poll) {
        fail("signalfd, epoll_create1");
    }
    watch(&n, n.signals, SIGNALS);
    for (int port = 0; port < config.ports; ++port) {
        n.taps[port] = open_tap(argv[first], argv[first + 1 + port], 0 == config.loss);
        watch(&n, n.taps[port], (uint32_t)port);
    }
    become_punctual();
    printf("ready\n");
    fflush(stdout);
    do {
        deliver(&n);
    } while (collect(&n));
    report(&n);
    wire_fini(&n.wire);
    return 0;
}
