/*
 * The slab of a peer is opened as /proc/PID/fd/FD of its memory file: no name that
 * could be left behind, and the kernel checks the permission. Two processes are on
 * one host in this sense if kernel boot, host name and PID name space agree; a
 * container with its own PID name space is another host.
 *
 * The cookie at the start of the mapped file is compared with the one on the card, so that a
 * recycled PID can never make us write into a stranger's memory.
 */
#define _GNU_SOURCE
#include "coll_rdma/transport/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "coll_rdma/base/log.h"
#include "coll_rdma/base/params.h"
#include "coll_rdma/transport/xpmem.h"

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;

    for (size_t i = 0; i < len; ++i) {
        hash = (hash ^ p[i]) * 0x100000001b3u; /* FNV-1a */
    }
    return hash;
}

static const uint64_t hash_start = 0xcbf29ce484222325u;

/* The running kernel: equal for all containers and network name spaces of a machine. */
static uint64_t machine_hash(void)
{
    uint64_t hash = hash_start;
    char text[64];
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

    if (0 <= fd) {
        ssize_t n = read(fd, text, sizeof(text));

        close(fd);
        hash = hash_bytes(hash, text, 0 < n ? (size_t) n : 0);
    }
    return hash;
}

static uint64_t host_hash(uint64_t hash)
{
    static const char *const links[] = {"/proc/self/ns/pid", "/proc/self/ns/user"};
    char text[256];

    if (0 == gethostname(text, sizeof(text))) {
        hash = hash_bytes(hash, text, strnlen(text, sizeof(text)));
    }
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); ++i) {
        ssize_t n = readlink(links[i], text, sizeof(text));

        hash = hash_bytes(hash, text, 0 < n ? (size_t) n : 0);
    }
    return hash;
}

void crdma_shm_card_fill(const crdma_slab_t *slab, crdma_shm_card_t *card)
{
    static uint64_t machine, host;
    int64_t segment = 0;

    if (0 == host) {
        machine = machine_hash();
        host = host_hash(machine);
        /* Where Yama restricts ptrace, allow the ranks of the job to copy from us. */
        (void) prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    }
    if (CRDMA_SINGLE_AUTO == crdma_params.single_copy
        || CRDMA_SINGLE_XPMEM == crdma_params.single_copy) {
        const char *reason;

        (void) crdma_xpmem_open(&segment, &reason);
    }
    *card = (crdma_shm_card_t) {.machine = machine,
                                .host = host,
                                .cookie = slab->cookie,
                                .base = (uint64_t) (uintptr_t) slab->base,
                                .size = slab->size,
                                .segment = segment,
                                .pid = getpid(),
                                .fd = slab->fd};
}

crdma_status_t crdma_shm_attach(crdma_peer_t *peer, const crdma_shm_card_t *card)
{
    crdma_slab_header_t seen;
    char path[64];
    void *map;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int) card->pid, (int) card->fd);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (0 > fd) {
        crdma_log(CRDMA_LOG_SETUP, "cannot open the memory of process %d (%s): %s", card->pid, path,
                  strerror(errno));
        return CRDMA_ERR_TRANSPORT;
    }
    if (sizeof(seen) != pread(fd, &seen, sizeof(seen), 0) || seen.cookie != card->cookie
        || seen.size != card->size) {
        crdma_log(CRDMA_LOG_SETUP, "%s is not the memory of the expected process", path);
        close(fd);
        return CRDMA_ERR_TRANSPORT;
    }
    map = mmap(NULL, card->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    close(fd);
    if (MAP_FAILED == map) {
        crdma_log(CRDMA_LOG_SETUP, "cannot map %zu bytes of process %d: %s", (size_t) card->size,
                  card->pid, strerror(errno));
        return CRDMA_ERR_TRANSPORT;
    }
    peer->map = map;
    peer->map_size = card->size;
    peer->pid = card->pid;
    peer->cookie = card->cookie;

    memset(&seen, 0, sizeof(seen));
    peer->cma = CRDMA_OK == crdma_shm_read(peer, &seen, card->base, sizeof(seen))
                && seen.cookie == card->cookie;
    crdma_xpmem_connect(peer, card->segment, card->base);
    return CRDMA_OK;
}

void crdma_shm_detach(crdma_peer_t *peer)
{
    crdma_xpmem_disconnect(peer);
    if (NULL != peer->map) {
        munmap(peer->map, peer->map_size);
        peer->map = NULL;
    }
}

bool crdma_shm_alive(const crdma_peer_t *peer)
{
    return 0 == kill(peer->pid, 0) || ESRCH != errno;
}

/* Its memory goes before its number does: from then on it is no longer a peer, and addresses in it are
 * bad (EFAULT). Field 9 of its stat line holds the kernel's flags of the process. */
static bool is_ending(const crdma_peer_t *peer)
{
    enum { PF_EXITING = 4 };
    char path[64], line[512];
    const char *after_name = NULL;
    unsigned long flags = 0;
    char state = 'X';
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int) peer->pid);
    file = fopen(path, "re");
    if (NULL == file) {
        return true;
    }
    if (NULL != fgets(line, sizeof(line), file)) {
        after_name = strrchr(line, ')');
    }
    fclose(file);
    return NULL == after_name
           || 2 != sscanf(after_name + 1, " %c %*d %*d %*d %*d %*d %lu", &state, &flags)
           || 'Z' == state || 'X' == state || 0 != (flags & PF_EXITING);
}

static crdma_status_t transfer(const crdma_peer_t *peer, void *local, uint64_t remote, size_t len,
                               bool write_it)
{
    while (0 < len) {
        struct iovec here = {local, len};
        struct iovec there = {(void *) (uintptr_t) remote, len};
        ssize_t n = write_it ? process_vm_writev(peer->pid, &here, 1, &there, 1, 0)
                             : process_vm_readv(peer->pid, &here, 1, &there, 1, 0);

        if (0 >= n) {
            return (0 > n && ESRCH == errno) || is_ending(peer) ? CRDMA_ERR_PEER : CRDMA_ERR_SYSTEM;
        }
        local = (char *) local + n;
        remote += (uint64_t) n;
        len -= (size_t) n;
    }
    return CRDMA_OK;
}

crdma_status_t crdma_shm_read(const crdma_peer_t *peer, void *dst, uint64_t src, size_t len)
{
    return transfer(peer, dst, src, len, false);
}

crdma_status_t crdma_shm_write(const crdma_peer_t *peer, const void *src, uint64_t dst, size_t len)
{
    return transfer(peer, (void *) (uintptr_t) src, dst, len, true);
}
