/*
 * A stand-in for XPMEM, for tests only: libxpmem.so.0 without the kernel module. README.md says
 * what it proves.
 *
 * Idea. What cannot be done without the module is to map private memory of another process. What
 * can be done is to map a shared file mapping of it once more: the file is reached through
 * /proc/PID/map_files or /proc/PID/fd. So xpmem_attach serves ranges that are shared file mappings
 * from end to end, and refuses all others, as the module refuses some. Loaded by LD_PRELOAD it also
 *   - says that /dev/xpmem is there (access),
 *   - serves allocations of FAKEXPMEM_MIN bytes (default 4096) and more from memory files, so that
 * the buffers of a program can be attached. free() really unmaps them, by munmap, which memory
 * hooks see.
 *
 * Unlike the module it maps a file, not an address: what the owner maps there later is not seen.
 * That is what shows that an attachment of memory which is gone is not used. And the attached
 * memory of a dead process stays; a fault comes from a file that was truncated only.
 *
 * FAKEXPMEM_REFUSE=N: every N-th attachment fails. FAKEXPMEM_STATS=1: at the end, attachments and
 * refusals on stderr.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <dirent.h>

enum { AREAS = 4096, PAGE = 4096, HEAD = 64 };

typedef struct area {
    char *base; /* NULL: free */
    size_t size;
    int fd; /* allocations: kept open for /proc/PID/fd; attachments: -1 */
} area_t;

static area_t allocations[AREAS], attachments[AREAS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long attached, refused;

/* For unit tests, which have no memory hooks: called before memory goes. */
extern void (*fakexpmem_hook)(const void *address, size_t len);
void (*fakexpmem_hook)(const void *address, size_t len);

/* ---- attaching ---- */

struct xpmem_addr {
    int64_t apid;
    off_t offset;
};

int64_t xpmem_make(void *address, size_t size, int permit_type, void *permit);
int xpmem_remove(int64_t segment);
int64_t xpmem_get(int64_t segment, int flags, int permit_type, void *permit);
int xpmem_release(int64_t apid);
void *xpmem_attach(struct xpmem_addr what, size_t size, void *address);
int xpmem_detach(void *address);

int64_t xpmem_make(void *address, size_t size, int permit_type, void *permit)
{
    (void)permit;
    if (NULL != address || SIZE_MAX != size || 1 != permit_type) {
        errno = EINVAL;
        return -1;
    }
    return (int64_t)getpid() << 8 | 1;
}

int xpmem_remove(int64_t segment)
{
    return segment == ((int64_t)getpid() << 8 | 1) ? 0 : -1;
}

int64_t xpmem_get(int64_t segment, int flags, int permit_type, void *permit)
{
    char path[64];

    (void)permit;
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)(segment >> 8));
    return 1 == (segment & 0xff) && 2 == flags && 1 == permit_type &&
                   0 == faccessat(AT_FDCWD, path, R_OK, 0)
               ? segment
               : -1;
}

int xpmem_release(int64_t apid)
{
    (void)apid;
    return 0;
}

/* A descriptor of the file of a mapping of process `pid`: by map_files if we may, else by its
 * descriptors. */
static int open_file(int pid, uint64_t start, uint64_t end, unsigned major, unsigned minor,
                     unsigned long inode)
{
    char path[96];
    struct stat st;
    struct dirent *entry;
    int fd;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", pid, (unsigned long)start,
             (unsigned long)end);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (0 <= fd) {
        return fd;
    }
    snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    dir = opendir(path);
    while (NULL != dir && 0 > fd && NULL != (entry = readdir(dir))) {
        snprintf(path, sizeof(path), "/proc/%d/fd/%.20s", pid, entry->d_name);
        if (0 == stat(path, &st) && st.st_ino == inode &&
            major == (unsigned)(st.st_dev >> 8 & 0xfff) && minor == (unsigned)(st.st_dev & 0xff)) {
            fd = open(path, O_RDWR | O_CLOEXEC);
        }
    }
    if (NULL != dir) {
        closedir(dir);
    }
    return fd;
}

/* Map [offset, offset + size) of the process over the reserved range at `to`. */
static bool map_all(int pid, uint64_t offset, size_t size, char *to)
{
    uint64_t next = offset, start, end, at;
    unsigned major, minor;
    unsigned long inode;
    char path[64], line[512], rights[8];
    FILE *maps;

    snprintf(path, sizeof(path), "/proc/%d/maps", pid);
    maps = fopen(path, "re");
    while (NULL != maps && next < offset + size && NULL != fgets(line, sizeof(line), maps)) {
        size_t len;
        void *p;
        int fd;

        if (7 != sscanf(line, "%lx-%lx %7s %lx %x:%x %lu", &start, &end, rights, &at, &major,
                        &minor, &inode) ||
            end <= next) {
            continue;
        }
        if (start > next || 0 != strncmp(rights, "rw-s", 4)) {
            break;
        }
        fd = open_file(pid, start, end, major, minor, inode);
        if (0 > fd) {
            break;
        }
        len = (size_t)((end < offset + size ? end : offset + size) - next);
        p = mmap(to + (next - offset), len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
                 (off_t)(at + (next - start)));
        close(fd);
        if (MAP_FAILED == p) {
            break;
        }
        next += len;
    }
    if (NULL != maps) {
        fclose(maps);
    }
    return next >= offset + size;
}

static area_t *find(area_t *areas, const char *address)
{
    for (int i = 0; i < AREAS; ++i) {
        if (address >= areas[i].base && address < areas[i].base + areas[i].size) {
            return &areas[i];
        }
    }
    return NULL;
}

static area_t *find_free(area_t *areas)
{
    for (int i = 0; i < AREAS; ++i) {
        if (NULL == areas[i].base) {
            return &areas[i];
        }
    }
    return NULL;
}

void *xpmem_attach(struct xpmem_addr what, size_t size, void *address)
{
    const char *refuse = getenv("FAKEXPMEM_REFUSE");
    const long every = NULL != refuse ? strtol(refuse, NULL, 10) : 0;
    area_t *area;
    bool mapped;
    char *base;

    size = (size + PAGE - 1) / PAGE * PAGE;
    if (NULL != address || 0 != what.offset % PAGE || 0 == size) {
        errno = EINVAL;
        return (void *)-1;
    }
    base = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (MAP_FAILED == base) {
        return (void *)-1;
    }
    /* Without the lock: it allocates. */
    mapped = map_all((int)(what.apid >> 8), (uint64_t)what.offset, size, base);
    pthread_mutex_lock(&lock);
    area = find_free(attachments);
    mapped = mapped && NULL != area && (0 == every || 0 != (attached + refused + 1) % every);
    if (mapped) {
        *area = (area_t){base, size, -1};
    }
    attached += mapped;
    refused += !mapped;
    pthread_mutex_unlock(&lock);
    if (!mapped) {
        munmap(base, size);
        errno = EFAULT;
        return (void *)-1;
    }
    return base;
}

int xpmem_detach(void *address)
{
    area_t *area, was;

    pthread_mutex_lock(&lock);
    area = find(attachments, address);
    if (NULL == area) {
        pthread_mutex_unlock(&lock);
        errno = EINVAL;
        return -1;
    }
    was = *area;
    *area = (area_t){NULL, 0, 0};
    pthread_mutex_unlock(&lock);
    return munmap(was.base, was.size);
}

__attribute__((destructor)) static void report(void)
{
    const char *wanted = getenv("FAKEXPMEM_STATS");

    if (NULL != wanted && '1' == *wanted && 0 < attached + refused) {
        fprintf(stderr, "fakexpmem: process %d: %ld attached, %ld refused\n", (int)getpid(),
                attached, refused);
    }
}

/* ---- a program's memory ---- */

int access(const char *path, int mode)
{
    if (0 == strcmp(path, "/dev/xpmem")) {
        return 0;
    }
    return faccessat(AT_FDCWD, path, mode, 0);
}

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *p);

static size_t least(void)
{
    static size_t value;

    if (0 == value) {
        const char *text = getenv("FAKEXPMEM_MIN");

        value = NULL != text ? strtoul(text, NULL, 10) : 4096;
        value = 0 < value ? value : 4096;
    }
    return value;
}

/* NULL: not from a file. Not at a page's start, as malloc does, unless that was asked for. */
static void *from_file(size_t size, bool aligned)
{
    const size_t room = (size + HEAD + PAGE - 1) / PAGE * PAGE;
    char *base = MAP_FAILED;
    area_t *area;
    int fd;

    if (room < size) {
        return NULL;
    }
    fd = memfd_create("fakexpmem", MFD_CLOEXEC);
    if (0 <= fd && 0 == ftruncate(fd, (off_t)room)) {
        base = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (MAP_FAILED == base) {
        if (0 <= fd) {
            close(fd);
        }
        return NULL;
    }
    pthread_mutex_lock(&lock);
    area = find_free(allocations);
    if (NULL != area) {
        *area = (area_t){base, room, fd};
    }
    pthread_mutex_unlock(&lock);
    if (NULL == area) {
        munmap(base, room);
        close(fd);
        return NULL;
    }
    return aligned ? base : base + HEAD;
}

/* Where p's memory ends, if it is from a file; else NULL. */
static const char *end_of(const char *p)
{
    const area_t *area;
    const char *end = NULL;

    pthread_mutex_lock(&lock);
    area = NULL != p ? find(allocations, p) : NULL;
    if (NULL != area) {
        end = area->base + area->size;
    }
    pthread_mutex_unlock(&lock);
    return end;
}

void *malloc(size_t size)
{
    void *p = size >= least() ? from_file(size, false) : NULL;

    return NULL != p ? p : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    void *p = 0 != size && n <= SIZE_MAX / size && n * size >= least() ? from_file(n * size, false)
                                                                       : NULL;

    return NULL != p ? p : __libc_calloc(n, size);
}

void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size)
{
    void *p = size >= least() && alignment <= PAGE ? from_file(size, true) : NULL;

    return NULL != p ? p : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **p, size_t alignment, size_t size)
{
    void *got = memalign(alignment, size);

    if (NULL == got) {
        return ENOMEM;
    }
    *p = got;
    return 0;
}

void free(void *p)
{
    area_t *area, was = {NULL, 0, -1};

    if (NULL == p) {
        return;
    }
    pthread_mutex_lock(&lock);
    area = find(allocations, p);
    if (NULL != area) {
        was = *area;
        /* Before the memory goes: from then on the addresses may be anything's, also another
         * thread's which frees them. */
        *area = (area_t){NULL, 0, 0};
    }
    pthread_mutex_unlock(&lock);
    if (NULL == was.base) {
        __libc_free(p);
        return;
    }
    if (NULL != fakexpmem_hook) {
        fakexpmem_hook(was.base, was.size);
    }
    munmap(was.base, was.size);
    close(was.fd);
}

void *realloc(void *p, size_t size)
{
    const char *end = end_of(p);
    void *moved;
    size_t old;

    if (NULL == p) {
        return malloc(size);
    }
    if (NULL == end) {
        return __libc_realloc(p, size);
    }
    moved = malloc(size);
    if (NULL != moved) {
        old = (size_t)(end - (char *)p);
        memcpy(moved, p, old < size ? old : size);
        free(p);
    }
    return moved;
}
