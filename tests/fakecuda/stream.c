/*
 * Streams of the stand-in: a thread each, which does one thing after the other, each at a time of its
 * own choosing.
 *
 * Adversary: before each copy or kernel a stream sleeps up to FAKECUDA_DELAY_US microseconds (default 0),
 * and copies come in two parts, the second one first. So whoever looks before he has synchronised
 * sees old bytes, or half of the new ones. FAKECUDA_LIE=all, or a rank: questions
 * whether work is done are answered with yes at once, as if nobody had waited; the blocking cuMemcpy waits
 * all the same. If only one rank lies, work of the others is not late. Calls named in FAKECUDA_FAIL fail (context.c); a copy or
 * kernel that fails does so when it is done, not when it is asked for, and stops its context for good.
 *
 * Order: work in a blocking stream follows what was in the context's default stream, and the other way
 * round, as in CUDA.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/fakecuda/fakecuda.h"
#include "tests/fakecuda/kernels.h"

enum { MAX_STREAMS = 256, MAX_THREADS = 4096 };
enum type { COPY, FILL, KERNEL, EVENT, STOP };

typedef struct task {
    enum type type;
    bool fails;
    crdma_cu_ptr_t dst, src;
    size_t bytes;
    unsigned char value;
    fakecuda_kernel_t kernel;
    crdma_kernel_args_t args;
    unsigned threads;
    unsigned long after[MAX_STREAMS]; /* by stream: how much of its work must be done */
    struct task *next;
} task_t;

struct fake_stream {
    fake_context_t *context; /* NULL: not in use */
    bool blocking, alive;
    unsigned long asked, done; /* tasks */
    task_t *first, **last;
    pthread_t thread;
};

static fake_stream_t streams[MAX_STREAMS];

static void be_late(unsigned us)
{
    struct timespec pause = {.tv_sec = us / 1000000, .tv_nsec = (long) (us % 1000000) * 1000};

    if (0 < us) {
        nanosleep(&pause, NULL);
    }
}

/* See above: does this process lie? *somebody: one process does. */
static bool lies(bool *somebody)
{
    static int answer = -1;
    const char *who = getenv("FAKECUDA_LIE"), *rank = getenv("OMPI_COMM_WORLD_RANK");

    if (0 > answer) {
        answer = NULL != who
                 && (0 == strcmp(who, "all") || (NULL != rank && 0 == strcmp(who, rank)));
    }
    *somebody = NULL != who;
    return 0 != answer;
}

static bool is_done(bool done)
{
    bool somebody;

    return done || lies(&somebody);
}

static unsigned lateness(void)
{
    static int most = -1;

    if (0 > most) {
        const char *text = getenv("FAKECUDA_DELAY_US");
        bool somebody;

        most = NULL == text || (!lies(&somebody) && somebody) ? 0 : atoi(text);
    }
    return fake_random((unsigned) most + 1);
}

static bool is_allowed(const task_t *task)
{
    switch (task->type) {
    case COPY:
        return fake_reaches(task->dst, task->bytes, true)
               && fake_reaches(task->src, task->bytes, true);
    case FILL: return fake_reaches(task->dst, task->bytes, false);
    case KERNEL: break; /* the element size is not known here: first bytes only */
    default: return true;
    }
    for (uint32_t s = 0; s < task->args.nsrc; ++s) {
        if (!fake_reaches((uintptr_t) task->args.src[s], 1, false)) {
            return false;
        }
    }
    return fake_reaches((uintptr_t) task->args.dst, 1, false);
}

/* Without the lock. */
static void perform(task_t *task, unsigned us)
{
    char *dst = (char *) (uintptr_t) task->dst, *src = (char *) (uintptr_t) task->src;
    const size_t half = task->bytes / 2;

    switch (task->type) {
    case COPY:
        memmove(dst + half, src + half, task->bytes - half);
        be_late(us / 2);
        memmove(dst, src, half);
        break;
    case FILL: memset(dst, task->value, task->bytes); break;
    case KERNEL:
        for (unsigned t = task->threads; 0 < t; --t) {
            task->kernel(&task->args, t - 1, task->threads);
        }
        break;
    default: break;
    }
}

/* From the addresses of programs to those where the driver works. The lock is held. */
static void translate(task_t *task)
{
    task->dst = (uintptr_t) fake_translate(task->dst);
    task->src = (uintptr_t) fake_translate(task->src);
    if (KERNEL == task->type) {
        task->args.dst = fake_translate((uintptr_t) task->args.dst);
        for (uint32_t s = 0; s < task->args.nsrc; ++s) {
            task->args.src[s] = fake_translate((uintptr_t) task->args.src[s]);
        }
    }
}

static bool may_start(const task_t *task)
{
    for (int i = 0; i < MAX_STREAMS; ++i) {
        if (streams[i].done < task->after[i]) {
            return false;
        }
    }
    return true;
}

static void *work(void *argument)
{
    fake_stream_t *stream = argument;
    bool stop = false;

    pthread_mutex_lock(&fake_lock);
    while (!stop) {
        task_t *task = stream->first;

        if (NULL == task || !may_start(task)) {
            pthread_cond_wait(&fake_changed, &fake_lock);
            continue;
        }
        if (CRDMA_CU_SUCCESS == stream->context->error) {
            const bool good = !task->fails && is_allowed(task);
            const crdma_cu_ptr_t dst =
                KERNEL == task->type ? (uintptr_t) task->args.dst : task->dst;
            const unsigned us = EVENT == task->type ? 0 : lateness();

            if (good) {
                fake_rdma_start();
                translate(task);
            }
            pthread_mutex_unlock(&fake_lock);
            be_late(us);
            if (good) {
                perform(task, us);
            }
            pthread_mutex_lock(&fake_lock);
            if (good) {
                fake_rdma_written(dst);
            } else {
                stream->context->error = FAKE_ILLEGAL_ADDRESS;
            }
        }
        stop = STOP == task->type;
        stream->first = task->next;
        if (NULL == stream->first) {
            stream->last = &stream->first;
        }
        ++stream->done;
        free(task);
        pthread_cond_broadcast(&fake_changed);
    }
    stream->context = NULL;
    pthread_mutex_unlock(&fake_lock);
    return NULL;
}

fake_stream_t *fake_stream_new(fake_context_t *context, bool blocking)
{
    for (int i = 0; i < MAX_STREAMS; ++i) {
        fake_stream_t *stream = &streams[i];

        if (NULL == stream->context) {
            stream->context = context;
            stream->blocking = blocking;
            stream->alive = true;
            stream->done = stream->asked;
            stream->first = NULL;
            stream->last = &stream->first;
            if (0 != pthread_create(&stream->thread, NULL, work, stream)) {
                abort();
            }
            pthread_detach(stream->thread);
            return stream;
        }
    }
    return NULL;
}

static void append(fake_stream_t *stream, task_t *task)
{
    const fake_context_t *context = stream->context;

    for (int i = 0; i < MAX_STREAMS; ++i) {
        if (streams[i].context == context && streams[i].blocking && stream->blocking
            && stream != &streams[i] && (stream == context->null || &streams[i] == context->null)) {
            task->after[i] = streams[i].asked;
        }
    }
    *stream->last = task;
    stream->last = &task->next;
    ++stream->asked;
    pthread_cond_broadcast(&fake_changed);
}

void fake_wait_stream(fake_stream_t *stream)
{
    const unsigned long asked = stream->asked;

    while (stream->done < asked) {
        pthread_cond_wait(&fake_changed, &fake_lock);
    }
}

void fake_wait_context(fake_context_t *context)
{
    for (int i = 0; i < MAX_STREAMS; ++i) {
        if (streams[i].context == context) {
            fake_wait_stream(&streams[i]);
        }
    }
}

void fake_kill_streams(const fake_context_t *context)
{
    for (int i = 0; i < MAX_STREAMS; ++i) {
        if (streams[i].context == context) {
            streams[i].alive = false; /* its place is not used again */
        }
    }
}

/* In a stream (NULL: the default one) of the current context. */
static crdma_cu_result_t ask(fake_stream_t *stream, const task_t *what, const char *name, bool wait)
{
    fake_context_t *context = fake_current();
    crdma_cu_result_t result = CRDMA_CU_SUCCESS;
    task_t *task;

    if (NULL == context) {
        return CRDMA_CU_INVALID_CONTEXT;
    }
    pthread_mutex_lock(&fake_lock);
    stream = NULL == stream ? context->null : stream;
    if (!stream->alive || stream->context != context) {
        result = CRDMA_CU_INVALID_HANDLE;
    } else if (CRDMA_CU_SUCCESS != context->error) {
        result = context->error;
    } else {
        task = malloc(sizeof(*task));
        if (NULL == task) {
            abort();
        }
        *task = *what;
        task->fails = fake_count(name);
        append(stream, task);
        if (wait) {
            fake_wait_stream(stream);
            result = context->error;
        }
    }
    pthread_mutex_unlock(&fake_lock);
    return result;
}

FAKE_API cuMemcpyAsync(crdma_cu_ptr_t dst, crdma_cu_ptr_t src, size_t bytes, fake_stream_t *stream)
{
    return ask(stream, &(task_t) {.type = COPY, .dst = dst, .src = src, .bytes = bytes}, "copy",
               false);
}

FAKE_API cuMemcpy(crdma_cu_ptr_t dst, crdma_cu_ptr_t src, size_t bytes)
{
    return ask(NULL, &(task_t) {.type = COPY, .dst = dst, .src = src, .bytes = bytes}, "copy_now",
               true);
}

FAKE_API cuMemsetD8_v2(crdma_cu_ptr_t dst, unsigned char value, size_t bytes)
{
    return ask(NULL, &(task_t) {.type = FILL, .dst = dst, .value = value, .bytes = bytes}, "fill",
               true);
}

FAKE_API cuMemsetD8Async(crdma_cu_ptr_t dst, unsigned char value, size_t bytes,
                         fake_stream_t *stream)
{
    return ask(stream, &(task_t) {.type = FILL, .dst = dst, .value = value, .bytes = bytes}, "fill",
               false);
}

typedef struct event {
    fake_stream_t *stream;
    unsigned long seq; /* done when the stream has done so much */
} event_t;

/* An event is work of its own in the stream: in a blocking one it waits for what was in the default
 * stream, as everything there. */

FAKE_API cuEventCreate(event_t **event, unsigned flags)
{
    (void) flags;
    pthread_mutex_lock(&fake_lock);
    *event = fake_count("event") ? NULL : calloc(1, sizeof(**event));
    pthread_mutex_unlock(&fake_lock);
    return NULL == *event ? CRDMA_CU_OUT_OF_MEMORY : CRDMA_CU_SUCCESS;
}

FAKE_API cuEventDestroy_v2(event_t *event)
{
    free(event);
    return CRDMA_CU_SUCCESS;
}

FAKE_API cuEventRecord(event_t *event, fake_stream_t *stream)
{
    const crdma_cu_result_t result = ask(stream, &(task_t) {.type = EVENT}, "record", false);

    if (CRDMA_CU_SUCCESS == result) {
        pthread_mutex_lock(&fake_lock);
        event->stream = stream;
        event->seq = stream->asked;
        pthread_mutex_unlock(&fake_lock);
    }
    return result;
}

FAKE_API cuEventQuery(event_t *event)
{
    crdma_cu_result_t result = CRDMA_CU_SUCCESS;

    pthread_mutex_lock(&fake_lock);
    if (NULL != event->stream) {
        result = CRDMA_CU_SUCCESS != event->stream->context->error ? event->stream->context->error
                 : !is_done(event->stream->done >= event->seq)     ? CRDMA_CU_NOT_READY
                                                                   : CRDMA_CU_SUCCESS;
    }
    pthread_mutex_unlock(&fake_lock);
    return result;
}

FAKE_API cuModuleLoadData(void **module, const void *image)
{
    *module = (void *) (uintptr_t) image;
    return NULL == fake_current() ? CRDMA_CU_INVALID_CONTEXT : CRDMA_CU_SUCCESS;
}

FAKE_API cuModuleUnload(void *module)
{
    (void) module;
    return CRDMA_CU_SUCCESS;
}

FAKE_API cuModuleGetFunction(fakecuda_kernel_t *function, void *module, const char *name)
{
    (void) module;
    *function = fakecuda_kernel_find(name);
    return NULL == *function ? CRDMA_CU_NOT_FOUND : CRDMA_CU_SUCCESS;
}

FAKE_API cuLaunchKernel(fakecuda_kernel_t function, unsigned blocks, unsigned by, unsigned bz,
                        unsigned threads, unsigned ty, unsigned tz, unsigned shared,
                        fake_stream_t *stream, void **parameters, void **extra)
{
    task_t task = {.type = KERNEL, .kernel = function, .threads = blocks * threads};

    (void) shared;
    (void) extra;
    if (1 != by || 1 != bz || 1 != ty || 1 != tz || 0 == task.threads
        || MAX_THREADS < task.threads) {
        return CRDMA_CU_INVALID_VALUE;
    }
    memcpy(&task.args, parameters[0], sizeof(task.args));
    return ask(stream, &task, "launch", false);
}

FAKE_API cuStreamCreate(fake_stream_t **stream, unsigned flags)
{
    fake_context_t *context = fake_current();

    if (NULL == context) {
        return CRDMA_CU_INVALID_CONTEXT;
    }
    pthread_mutex_lock(&fake_lock);
    *stream = fake_count("stream") ? NULL
                                   : fake_stream_new(context, CRDMA_CU_STREAM_DEFAULT == flags);
    pthread_mutex_unlock(&fake_lock);
    return NULL == *stream ? CRDMA_CU_OUT_OF_MEMORY : CRDMA_CU_SUCCESS;
}

FAKE_API cuStreamDestroy_v2(fake_stream_t *stream)
{
    const crdma_cu_result_t result = ask(stream, &(task_t) {.type = STOP}, "destroy", false);

    if (CRDMA_CU_SUCCESS == result) {
        stream->alive = false;
    }
    return result;
}

FAKE_API cuStreamSynchronize(fake_stream_t *stream)
{
    fake_context_t *context = fake_current();
    crdma_cu_result_t result;

    if (NULL == context) {
        return CRDMA_CU_INVALID_CONTEXT;
    }
    pthread_mutex_lock(&fake_lock);
    (void) fake_count("synchronize");
    stream = NULL == stream ? context->null : stream;
    if (!stream->alive) {
        result = CRDMA_CU_INVALID_HANDLE;
    } else {
        if (!is_done(false)) {
            fake_wait_stream(stream);
        }
        result = context->error;
    }
    pthread_mutex_unlock(&fake_lock);
    return result;
}

FAKE_API cuStreamQuery(fake_stream_t *stream)
{
    const crdma_cu_result_t error = stream->context->error;

    return CRDMA_CU_SUCCESS != error                                      ? error
           : !is_done(__atomic_load_n(&stream->done, __ATOMIC_ACQUIRE) >= stream->asked)
               ? CRDMA_CU_NOT_READY
               : CRDMA_CU_SUCCESS;
}
