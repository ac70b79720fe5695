/*
 * coll_rdma_info: what this build and this machine can do, as text.
 *
 * Idea: a user whose job is not served, or slower than hoped, wants one page that
 * says where the component is, whether it fits the installed Open MPI, and what
 * the transports will find: RDMA devices, UCX, single-copy between processes, shared
 * memory, locked memory, a GPU driver. Nothing is linked in that may be missing:
 * libraries are opened at run time, Open MPI is asked through ompi_info in PATH.
 *
 * The exit status is 1, with one line on standard error, if mca_coll_rdma.so is not
 * found or is not accepted by Open MPI, else 0.
 */
#define _GNU_SOURCE /* process_vm_readv */

#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMPONENT_FILE "mca_coll_rdma.so"
#define PATH_VARIABLE  "OMPI_MCA_mca_base_component_path"

/* The build gives the Open MPI release that the component was compiled against. */
#ifndef COLL_RDMA_OMPI_VERSION
#define COLL_RDMA_OMPI_VERSION "not recorded in this build"
#endif

static void line(const char *name, const char *value)
{
    printf("%-22s %s\n", name, value);
}

/* First line of a file without its newline; false if it cannot be read. */
static bool read_line(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "r");
    bool got;

    if (NULL == file) {
        return false;
    }
    got = NULL != fgets(text, (int)size, file);
    fclose(file);
    if (got) {
        text[strcspn(text, "\n")] = '\0';
    }
    return got;
}

/* What follows `prefix` in the first line of a command's output that has it. */
static bool ask(const char *command, const char *prefix, char *text, size_t size)
{
    FILE *pipe = popen(command, "r");
    char *read = NULL;
    size_t room = 0;
    bool found = false;

    if (NULL == pipe) {
        return false;
    }
    while (getline(&read, &room, pipe) > 0) {
        if (!found && 0 == strncmp(read, prefix, strlen(prefix))) {
            read[strcspn(read, "\n")] = '\0';
            snprintf(text, size, "%s", read + strlen(prefix));
            found = true;
        }
    }
    free(read);
    pclose(pipe);
    return found;
}

/* ---- the component -------------------------------------------------------------- */

static bool component_in(const char *folder, char *path, size_t size)
{
    snprintf(path, size, "%s/%s", folder, COMPONENT_FILE);
    return 0 == access(path, R_OK);
}

/* Looks where Open MPI would, then in the tree that this program is installed in. */
static bool component_find(char *path, size_t size, bool *visible)
{
    char folder[PATH_MAX], self[PATH_MAX], libraries[PATH_MAX] = "";
    const char *list = getenv(PATH_VARIABLE);
    struct passwd *user = getpwuid(getuid());
    bool standard = NULL == list;
    ssize_t length;

    *visible = true;
    if (NULL != list) {
        char *copy = strdup(list);

        for (char *part = strtok(copy, ":"); NULL != part; part = strtok(NULL, ":")) {
            standard |=
                0 == strcasecmp(part, "SYSTEM_DEFAULT") || 0 == strcasecmp(part, "USER_DEFAULT");
            if (component_in(part, path, size)) {
                free(copy);
                return true;
            }
        }
        free(copy);
    }
    if (standard && NULL != user) {
        snprintf(folder, sizeof(folder), "%s/.openmpi/components", user->pw_dir);
        if (component_in(folder, path, size)) {
            return true;
        }
    }
    if (standard &&
        ask("ompi_info --parsable --path pkglibdir 2>/dev/null", "path:pkglibdir:", libraries,
            sizeof(libraries)) &&
        component_in(libraries, path, size)) {
        return true;
    }
    *visible = false;
    length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (length > 0) {
        self[length] = '\0';
        *strrchr(self, '/') = '\0';
        if (snprintf(folder, sizeof(folder), "%.*s/../lib/openmpi", (int)sizeof(folder) - 32,
                     self) > 0 &&
            component_in(folder, path, size)) {
            return true;
        }
    }
    return false;
}

/* Whether Open MPI opens the component. */
static bool show_component(const char *path, bool found, bool visible)
{
    char text[256];
    bool accepted;

    line("component", found ? path : "not found");
    if (found && !visible) {
        line("", "not in Open MPI's search path; the installed env.sh adds it");
    }
    line("built against", COLL_RDMA_OMPI_VERSION);
    if (ask("ompi_info --version 2>/dev/null", "Open MPI v", text, sizeof(text))) {
        line("installed Open MPI", text);
        if (isdigit((unsigned char)COLL_RDMA_OMPI_VERSION[0]) &&
            0 != strcmp(text, COLL_RDMA_OMPI_VERSION)) {
            line("", "differs: the component declines; build it for this release");
        }
    } else {
        line("installed Open MPI", "unknown: ompi_info is not in PATH");
    }
    accepted = ask("ompi_info --parsable --param coll rdma --level 9 2>/dev/null",
                   "mca:coll:rdma:", text, sizeof(text));
    line("accepted by Open MPI", accepted ? "yes" : "no");
    return accepted;
}

/* ---- the machine ---------------------------------------------------------------- */

static void show_cpu(void)
{
    static const char *const wanted[] = {
        "sse4_2",      "avx",         "avx2",  "avx512f", "avx512bw", "avx512vl", "f16c",
        "avx512_bf16", "avx512_fp16", "asimd", "sve",     "sve2",     "asimdhp",  "bf16"};
    FILE *file = fopen("/proc/cpuinfo", "r");
    char *text = NULL, model[256] = "unknown", isa[512] = "";
    size_t room = 0;
    bool flags = false;

    while (NULL != file && getline(&text, &room, file) > 0) {
        char *value = strchr(text, ':');

        if (NULL == value) {
            continue;
        }
        value += ' ' == value[1] ? 2 : 1;
        value[strcspn(value, "\n")] = '\0';
        if (0 == strncmp(text, "model name", 10)) {
            snprintf(model, sizeof(model), "%s", value);
        } else if (!flags &&
                   (0 == strncmp(text, "flags", 5) || 0 == strncmp(text, "Features", 8))) {
            flags = true;
            for (char *flag = strtok(value, " "); NULL != flag; flag = strtok(NULL, " ")) {
                for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
                    if (0 == strcmp(flag, wanted[i])) {
                        size_t used = strlen(isa);

                        snprintf(isa + used, sizeof(isa) - used, "%s%s", used ? " " : "", flag);
                    }
                }
            }
        }
    }
    free(text);
    if (NULL != file) {
        fclose(file);
    }
    line("CPU", model);
    snprintf(model, sizeof(model), "%ld", sysconf(_SC_NPROCESSORS_ONLN));
    line("cores online", model);
    line("vector extensions", '\0' != isa[0] ? isa : "none known");
}

static void show_port(const char *device, const char *port)
{
    char path[PATH_MAX], state[64] = "?", rate[64] = "?", link[64] = "?", name[128], text[352];

    snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/%s/state", device, port);
    read_line(path, state, sizeof(state));
    snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/%s/rate", device, port);
    read_line(path, rate, sizeof(rate));
    snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/%s/link_layer", device, port);
    read_line(path, link, sizeof(link));
    snprintf(name, sizeof(name), "%.60s:%.20s", device, port);
    snprintf(text, sizeof(text), "%s, %s, %s, %s", name, link, state, rate);
    line("RDMA device", text);
}

static void show_rdma(void)
{
    DIR *devices = opendir("/sys/class/infiniband");
    int shown = 0;

    for (struct dirent *d; NULL != devices && NULL != (d = readdir(devices));) {
        char path[PATH_MAX];
        DIR *ports;

        if ('.' == d->d_name[0]) {
            continue;
        }
        snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports", d->d_name);
        ports = opendir(path);
        for (struct dirent *p; NULL != ports && NULL != (p = readdir(ports));) {
            if ('.' != p->d_name[0]) {
                show_port(d->d_name, p->d_name);
                shown++;
            }
        }
        if (NULL != ports) {
            closedir(ports);
        }
    }
    if (NULL != devices) {
        closedir(devices);
    }
    if (0 == shown) {
        line("RDMA device", "none: UCX uses shared memory and TCP");
    }
}

static void show_ucx(void)
{
    void *library = dlopen("libucp.so.0", RTLD_LAZY | RTLD_LOCAL);
    const char *(*version)(void) = NULL;

    if (NULL != library) {
        *(void **)&version = dlsym(library, "ucp_get_version_string");
    }
    line("UCX", NULL != version ? version() : "libucp.so.0 not found");
}

static void show_cuda(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    int (*init)(unsigned) = NULL, (*version)(int *) = NULL, (*count)(int *) = NULL;
    int number = 0, devices = 0;
    char text[128];

    if (NULL != library) {
        *(void **)&init = dlsym(library, "cuInit");
        *(void **)&version = dlsym(library, "cuDriverGetVersion");
        *(void **)&count = dlsym(library, "cuDeviceGetCount");
    }
    if (NULL == init || NULL == version || NULL == count) {
        line("CUDA driver", "none (libcuda.so.1)");
        return;
    }
    if (0 != init(0) || 0 != version(&number) || 0 != count(&devices)) {
        line("CUDA driver", "installed, but finds no usable GPU");
        return;
    }
    snprintf(text, sizeof(text), "CUDA %d.%d, %d GPU%s", number / 1000, number % 1000 / 10, devices,
             1 == devices ? "" : "s");
    line("CUDA driver", text);
}

/* The kernel module makes the device, the library comes with it. */
static void show_xpmem(void)
{
    if (0 != access("/dev/xpmem", R_OK | W_OK)) {
        line("XPMEM", ENOENT == errno ? "no /dev/xpmem: large messages go by CMA" : strerror(errno));
    } else if (NULL == dlopen("libxpmem.so.0", RTLD_NOW | RTLD_LOCAL)) {
        line("XPMEM", "/dev/xpmem is there, but no libxpmem.so.0: large messages go by CMA");
    } else {
        line("XPMEM", "works: large messages within a host go through attached memory");
    }
}

/*
 * Ranks of one job are siblings, and that decides: under yama scope 1 a parent may
 * read its child, a sibling may not. So one child offers a word and another reads it.
 */
static void show_cma(void)
{
    volatile unsigned long word = 0x636d6121;
    char text[128], scope[32];
    pid_t offering, reading;
    int status = 0;

    fflush(NULL);
    offering = fork();
    if (0 == offering) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pause();
        _exit(0);
    }
    reading = offering > 0 ? fork() : -1;
    if (0 == reading) {
        unsigned long copy = 0;
        struct iovec here = {&copy, sizeof(copy)}, there = {(void *)&word, sizeof(word)};
        ssize_t got = process_vm_readv(offering, &here, 1, &there, 1, 0);

        _exit((ssize_t)sizeof(copy) == got && copy == word ? 0 : got < 0 ? errno : 255);
    }
    if (reading > 0) {
        waitpid(reading, &status, 0);
    }
    if (offering > 0) {
        kill(offering, SIGKILL);
        waitpid(offering, NULL, 0);
    }
    if (reading > 0 && WIFEXITED(status) && 0 == WEXITSTATUS(status)) {
        line("single copy (CMA)", "allowed between processes of one user");
    } else if (reading > 0 && WIFEXITED(status)) {
        snprintf(text, sizeof(text), "refused: %s", strerror(WEXITSTATUS(status)));
        line("single copy (CMA)", text);
    } else {
        line("single copy (CMA)", "could not be tested");
    }
    if (read_line("/proc/sys/kernel/yama/ptrace_scope", scope, sizeof(scope))) {
        snprintf(text, sizeof(text), "%s%s", scope,
                 '0' == scope[0] ? "" : " (0 allows CMA between ranks)");
        line("yama ptrace_scope", text);
    }
}

static void show_limits(void)
{
    struct statvfs shm;
    struct rlimit locked;
    char text[128];

    if (0 == statvfs("/dev/shm", &shm)) {
        snprintf(text, sizeof(text), "%.0f MiB, %.0f MiB free",
                 (double)shm.f_blocks * (double)shm.f_frsize / 1048576.0,
                 (double)shm.f_bavail * (double)shm.f_frsize / 1048576.0);
        line("/dev/shm", text);
    } else {
        line("/dev/shm", strerror(errno));
    }
    if (0 == getrlimit(RLIMIT_MEMLOCK, &locked)) {
        if (RLIM_INFINITY == locked.rlim_cur) {
            snprintf(text, sizeof(text), "unlimited");
        } else {
            snprintf(text, sizeof(text), "%.0f KiB (RDMA needs to lock memory: raise it)",
                     (double)locked.rlim_cur / 1024.0);
        }
        line("locked memory limit", text);
    }
}

/* ---- everything ----------------------------------------------------------------- */

int main(int argc, char **argv)
{
    char path[PATH_MAX + 32];
    bool found, visible, accepted;

    if (argc > 1) {
        bool help = 0 == strcmp(argv[1], "-h") || 0 == strcmp(argv[1], "--help");

        fprintf(help ? stdout : stderr,
                "usage: coll_rdma_info\n\nSays where the component is, what this machine offers "
                "it, and its parameters.\nExit status 1 if Open MPI does not find it.\n");
        return help ? 0 : 2;
    }
    found = component_find(path, sizeof(path), &visible);
    if (found && !visible) {
        char list[PATH_MAX + 64];

        /* ask ompi_info as a job would after env.sh */
        snprintf(list, sizeof(list), "%.*s:SYSTEM_DEFAULT", (int)(strrchr(path, '/') - path), path);
        setenv(PATH_VARIABLE, list, 1);
    }
    accepted = show_component(path, found, visible);
    show_cpu();
    show_rdma();
    show_ucx();
    show_cma();
    show_xpmem();
    show_limits();
    show_cuda();
    if (!found || !accepted) {
        fflush(stdout);
        fprintf(stderr, found ? "coll_rdma_info: Open MPI does not accept " COMPONENT_FILE
                                " (ompi_info shows no coll rdma)\n"
                              : "coll_rdma_info: " COMPONENT_FILE " not found: source the "
                                "installed env.sh, or set " PATH_VARIABLE "\n");
        return 1;
    }
    printf("\nParameters (set with --mca NAME VALUE or OMPI_MCA_NAME=VALUE):\n");
    fflush(stdout);
    execlp("ompi_info", "ompi_info", "--param", "coll", "rdma", "--level", "9", (char *)NULL);
    perror("coll_rdma_info: ompi_info");
    return 1;
}
