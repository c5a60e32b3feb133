/* topicfs: serves a store of topics as a filesystem. See topicfs(1).
 *
 * Start: options; mountpoint looked at, a killed daemon's mount taken away; the store opened and recovered; mounted;
 * threads started; the caller's process let go, systemd told. End (SIGTERM, SIGINT, SIGHUP or unmounted): no more
 * requests are taken, those waiting for the disk are answered, unfinished lines ended, everything made durable, the
 * checkpoint written, unmounted. Signals stay blocked meanwhile, so a second one changes nothing. */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "background.h"
#include "daemon.h"
#include "handle.h"
#include "log.h"
#include "mountpoint.h"
#include "ops.h"
#include "options.h"
#include "recovery.h"
#include "workers.h"

enum { EXIT_USAGE = 2, EXIT_SYSTEM = 111 };

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Blocked in every thread: one thread waits for them. */
static sigset_t block_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, TFS_SIGNAL_UNMOUNTED);
    sigaddset(&set, TFS_SIGNAL_STOP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    sigdelset(&set, TFS_SIGNAL_STOP);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on files' sizes is an error of the write, not the end of the mount */
    return set;
}

/* A kernel that gives up on requests aborts the whole mount; waiting for a lock or a disk is no failure here. */
static void warn_of_timeouts(void)
{
    static const char *const settings[] = {"default_request_timeout", "max_request_timeout"};

    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        char path[128];
        unsigned seconds = 0;
        snprintf(path, sizeof path, "/proc/sys/fs/fuse/%s", settings[i]);
        FILE *file = fopen(path, "r");
        if (file == NULL)
            continue;
        if (fscanf(file, "%u", &seconds) == 1 && seconds > 0)
            tfs_say(LOG_WARNING, "%s is %u: the kernel will end the mount when a request takes longer", path, seconds);
        fclose(file);
    }
}

/* Whether one directory is the other or lies in it. */
static bool within(const char *inner, const char *outer)
{
    size_t length = strlen(outer);

    return strncmp(inner, outer, length) == 0 && (inner[length] == '/' || inner[length] == '\0');
}

static int check_paths(struct tfs *fs, const struct tfs_options *options, char **mountpoint)
{
    int result = tfs_mountpoint_prepare(options->mountpoint, mountpoint);

    if (result != 0)
        return result;
    fs->store_path = strdup(options->store);
    if (fs->store_path == NULL)
        return -ENOMEM;
    if (within(*mountpoint, fs->store_path) || within(fs->store_path, *mountpoint)) {
        tfs_say(LOG_ERR, "%s: the store and the mountpoint must not contain each other", *mountpoint);
        return -EINVAL;
    }
    return 0;
}

/* Until the mount has ended or is to end; the threads are stopped then. */
static int serve(struct tfs *fs, const sigset_t *signals, int parent)
{
    struct tfs_workers workers;
    int signal, result = tfs_notify_start(&fs->notify, fs->session);

    if (result != 0)
        return result;
    result = tfs_workers_start(&workers, fs->session, TFS_MAX_REQUEST_BYTES);
    if (result == 0) {
        sd_notifyf(0, "READY=1\nMAINPID=%lu", (unsigned long)getpid());
        if (parent >= 0) {
            tfs_say_by_syslog();
            tfs_background_ready(parent);
        }
        while (sigwait(signals, &signal) != 0)
            ;
        sd_notify(0, "STOPPING=1");
        tfs_workers_stop(&workers);
        tfs_throttle_stop(&fs->throttle);
        result = atomic_load(&workers.failed) ? -EIO : 0;
    }
    tfs_notify_stop(&fs->notify);
    return result;
}

/* What was begun is ended, and lies on the disk. */
static int close_store(struct tfs *fs)
{
    struct tlog_error error = {""};
    const struct timespec moment = {.tv_nsec = 1000000};

    while (atomic_load(&fs->syncing) > 0)
        nanosleep(&moment, NULL);
    tfs_handles_close(fs);
    tfs_nodes_release(fs);
    tfs_instants_release(&fs->instants);
    tfs_trash_release(&fs->trash);
    int result = tlog_store_close(fs->store, &error);
    if (result != 0)
        tfs_say(LOG_ERR, "%s", error.text);
    return result;
}

static int mount_and_serve(struct tfs *fs, const char *mountpoint, const sigset_t *signals, int parent)
{
    int result = tfs_store_open(fs), closed;

    if (result != 0)
        return result;
    /* libfuse has said why. */
    if (fuse_session_mount(fs->session, mountpoint) != 0)
        result = -EIO;
    else
        result = serve(fs, signals, parent);
    closed = close_store(fs);
    fuse_session_unmount(fs->session);
    return result != 0 ? result : closed;
}

static int run(struct tfs_options *options, int parent)
{
    struct tfs *fs = calloc(1, sizeof *fs);
    char *mountpoint = NULL;
    sigset_t signals = block_signals();
    int status = EXIT_SYSTEM;

    if (fs == NULL)
        return EXIT_SYSTEM;
    /* Large buffers go back to the system when they are freed. Left alone, the allocator takes the first such free as a
     * hint to keep their like in the threads' arenas from then on. */
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
    fs->read_only = options->read_only != 0;
    fs->started_ns = clock_ns(CLOCK_BOOTTIME);
    pthread_mutex_init(&fs->handles_lock, NULL);
    tfs_nodes_init(fs);
    tfs_instants_init(&fs->instants);
    tfs_trash_init(&fs->trash);
    tfs_throttle_init(&fs->throttle, tfs_write);
    tfs_notify_init(&fs->notify, fs);

    fs->session = fuse_session_new(&options->arguments, &tfs_operations, sizeof tfs_operations, fs);
    if (fs->session == NULL) {
        status = EXIT_USAGE; /* libfuse has said what it does not know */
    } else if (check_paths(fs, options, &mountpoint) == 0) {
        warn_of_timeouts();
        if (mount_and_serve(fs, mountpoint, &signals, parent) == 0)
            status = EXIT_SUCCESS;
    }
    if (fs->session != NULL)
        fuse_session_destroy(fs->session);
    free(mountpoint);
    free(fs->store_path);
    free(fs);
    return status;
}

int main(int argc, char **argv)
{
    struct tfs_options options;
    int parent = -1, status = EXIT_USAGE;

    tfs_say_for_libfuse();
    if (tfs_options_parse(&options, argc, argv) != 0) {
        status = EXIT_USAGE;
    } else if (options.help) {
        tfs_options_help();
        status = EXIT_SUCCESS;
    } else if (options.version) {
        printf("topicfs %s, libfuse %s\n", TOPICFS_VERSION, fuse_pkgversion());
        status = EXIT_SUCCESS;
    } else if (!options.foreground && (parent = tfs_background_start()) < 0) {
        tfs_say(LOG_ERR, "cannot start: %s", strerror(-parent));
        status = EXIT_SYSTEM;
    } else {
        status = run(&options, parent);
    }
    tfs_options_release(&options);
    return status;
}
