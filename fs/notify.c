#include "notify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon.h"
#include "workers.h"

/* Under notify->lock. Gives back what was waiting. */
static struct fuse_pollhandle *unlink_poller(struct tfs_part *part, struct tfs_poller *poller)
{
    struct fuse_pollhandle *handle = poller->waiting;

    if (handle == NULL)
        return NULL;
    poller->waiting = NULL;
    *poller->link = poller->next;
    if (poller->next != NULL)
        poller->next->link = poller->link;
    tlog_partition_watch(part->partition, false);
    return handle;
}

/* Under notify->lock, which is let go meanwhile: the pollers of one partition. */
static void tell_pollers(struct tfs_notify *notify)
{
    struct fuse_pollhandle *handles[64];
    struct tfs_part *part = notify->grown;
    size_t count = 0;

    while (part->pollers != NULL && count < sizeof handles / sizeof *handles)
        handles[count++] = unlink_poller(part, part->pollers);
    if (part->pollers == NULL) {
        notify->grown = part->grown_next;
        part->grown = false;
    }
    pthread_mutex_unlock(&notify->lock);
    for (size_t i = 0; i < count; i++) {
        fuse_lowlevel_notify_poll(handles[i]);
        fuse_pollhandle_destroy(handles[i]);
    }
    pthread_mutex_lock(&notify->lock);
}

/* The same: one name. */
static void tell_name(struct tfs_notify *notify)
{
    struct tfs_gone_name *gone = notify->gone;

    notify->gone = gone->next;
    notify->telling_name = true;
    pthread_mutex_unlock(&notify->lock);
    fuse_lowlevel_notify_inval_entry(notify->session, gone->parent, gone->name, strlen(gone->name));
    free(gone);
    pthread_mutex_lock(&notify->lock);
    notify->telling_name = false;
    pthread_cond_broadcast(&notify->told);
}

/* The same: the name of one partition that was trimmed. */
static void tell_trim(struct tfs_notify *notify)
{
    struct tfs_part *part = notify->trimmed;
    struct tlog_partition *partition = tlog_partition_ref(part->partition);
    struct tfs *fs = notify->fs;
    uint64_t trims = part->trims;
    char name[16];

    notify->trimmed = part->trimmed_next;
    part->trimmed = false;
    pthread_mutex_unlock(&notify->lock);
    struct tfs_node *directory = tfs_node_of_topic(fs, tlog_partition_topic(partition));
    if (directory != NULL) {
        int length = snprintf(name, sizeof name, "%u", tlog_partition_number(partition));
        fuse_lowlevel_notify_inval_entry(notify->session, tfs_node_id(fs, directory), name, (size_t)length);
        tfs_node_unref(fs, directory, 1);
    }
    tfs_node_unname(fs, partition);
    pthread_mutex_lock(&notify->lock);
    part = tlog_partition_user(partition); /* nobody may know it any more */
    if (part != NULL && part->trims_told < trims)
        part->trims_told = trims;
    pthread_cond_broadcast(&notify->told);
    pthread_mutex_unlock(&notify->lock);
    tlog_partition_unref(partition);
    pthread_mutex_lock(&notify->lock);
}

static struct timespec seconds_from_now(int seconds)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_sec += seconds;
    return time;
}

static bool is_over(const struct timespec *time)
{
    const struct timespec now = seconds_from_now(0);

    return now.tv_sec > time->tv_sec || (now.tv_sec == time->tv_sec && now.tv_nsec >= time->tv_nsec);
}

/* The same: nothing to tell, unless somebody has stopped using an instant. */
static void rest(struct tfs_notify *notify, struct timespec *until)
{
    if (!is_over(until))
        pthread_cond_timedwait(&notify->wake, &notify->lock, until);
    if (!is_over(until))
        return;
    *until = seconds_from_now(TFS_INSTANT_OWN_SECONDS);
    pthread_mutex_unlock(&notify->lock);
    tfs_instants_expire(notify->fs);
    pthread_mutex_lock(&notify->lock);
}

static void *tell(void *arg)
{
    struct tfs_notify *notify = arg;
    struct timespec until = seconds_from_now(TFS_INSTANT_OWN_SECONDS);

    pthread_mutex_lock(&notify->lock);
    while (!notify->stop) {
        if (notify->grown != NULL)
            tell_pollers(notify);
        else if (notify->trimmed != NULL)
            tell_trim(notify);
        else if (notify->gone != NULL)
            tell_name(notify);
        else
            rest(notify, &until);
    }
    pthread_mutex_unlock(&notify->lock);
    return NULL;
}

void tfs_notify_init(struct tfs_notify *notify, struct tfs *fs)
{
    notify->fs = fs;
    pthread_mutex_init(&notify->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&notify->wake, &monotonic);
    pthread_cond_init(&notify->told, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

int tfs_notify_start(struct tfs_notify *notify, struct fuse_session *session)
{
    notify->session = session;
    return -pthread_create(&notify->thread, NULL, tell, notify);
}

void tfs_notify_stop(struct tfs_notify *notify)
{
    pthread_mutex_lock(&notify->lock);
    notify->stop = true;
    pthread_cond_signal(&notify->wake);
    pthread_mutex_unlock(&notify->lock);
    pthread_join(notify->thread, NULL);
    while (notify->gone != NULL) {
        struct tfs_gone_name *gone = notify->gone;
        notify->gone = gone->next;
        free(gone);
    }
}

void tfs_notify_attach(struct tfs_notify *notify, struct tfs_part *part)
{
    pthread_mutex_lock(&notify->lock);
    tlog_partition_set_user(part->partition, part);
    pthread_mutex_unlock(&notify->lock);
}

void tfs_notify_detach(struct tfs_notify *notify, struct tfs_part *part)
{
    pthread_mutex_lock(&notify->lock);
    tlog_partition_set_user(part->partition, NULL);
    if (part->grown) {
        struct tfs_part **at = &notify->grown;
        while (*at != part)
            at = &(*at)->grown_next;
        *at = part->grown_next;
    }
    if (part->trimmed) {
        struct tfs_part **at = &notify->trimmed;
        while (*at != part)
            at = &(*at)->trimmed_next;
        *at = part->trimmed_next;
    }
    pthread_mutex_unlock(&notify->lock);
}

static void tell_all_pollers(void *arg)
{
    struct tfs_notify *notify = arg;

    pthread_mutex_lock(&notify->lock);
    while (notify->grown != NULL)
        tell_pollers(notify);
    pthread_mutex_unlock(&notify->lock);
}

void tfs_notify_grown(void *arg, struct tlog_partition *partition)
{
    struct tfs_notify *notify = arg;

    pthread_mutex_lock(&notify->lock);
    struct tfs_part *part = tlog_partition_user(partition);
    if (part != NULL && part->pollers != NULL && !part->grown) {
        part->grown = true;
        part->grown_next = notify->grown;
        notify->grown = part;
        if (!tfs_worker_defer(tell_all_pollers, notify))
            pthread_cond_signal(&notify->wake);
    }
    pthread_mutex_unlock(&notify->lock);
}

void tfs_notify_trimmed(struct tfs_notify *notify, struct tlog_partition *partition)
{
    pthread_mutex_lock(&notify->lock);
    struct tfs_part *part = tlog_partition_user(partition);
    if (part != NULL)
        part->trims++;
    if (part != NULL && !part->trimmed) {
        part->trimmed = true;
        part->trimmed_next = notify->trimmed;
        notify->trimmed = part;
        pthread_cond_signal(&notify->wake);
    }
    pthread_mutex_unlock(&notify->lock);
}

void tfs_notify_await_trims(struct tfs_notify *notify, struct tlog_partition *partition)
{
    const struct timespec until = seconds_from_now(1);
    const struct tfs_part *part;

    pthread_mutex_lock(&notify->lock);
    part = tlog_partition_user(partition);
    uint64_t trims = part != NULL ? part->trims : 0;
    while (part != NULL && part->trims_told < trims && !notify->stop &&
           pthread_cond_timedwait(&notify->told, &notify->lock, &until) == 0)
        part = tlog_partition_user(partition);
    pthread_mutex_unlock(&notify->lock);
}

void tfs_poller_set(struct tfs_notify *notify, struct tfs_part *part, struct tfs_poller *poller,
                    struct fuse_pollhandle *handle)
{
    pthread_mutex_lock(&notify->lock);
    struct fuse_pollhandle *old = unlink_poller(part, poller);
    if (handle != NULL) {
        poller->waiting = handle;
        poller->next = part->pollers;
        poller->link = &part->pollers;
        if (poller->next != NULL)
            poller->next->link = &poller->next;
        part->pollers = poller;
        tlog_partition_watch(part->partition, true);
    }
    pthread_mutex_unlock(&notify->lock);
    if (old != NULL)
        fuse_pollhandle_destroy(old);
}

void tfs_notify_gone(struct tfs_notify *notify, uint64_t parent, const char *name)
{
    struct tfs_gone_name *gone = malloc(sizeof *gone);

    if (gone == NULL)
        return;
    gone->parent = parent;
    snprintf(gone->name, sizeof gone->name, "%s", name);
    pthread_mutex_lock(&notify->lock);
    gone->next = notify->gone;
    notify->gone = gone;
    pthread_cond_signal(&notify->wake);
    pthread_mutex_unlock(&notify->lock);
}

void tfs_notify_await_gone(struct tfs_notify *notify)
{
    const struct timespec until = seconds_from_now(1);

    pthread_mutex_lock(&notify->lock);
    while ((notify->gone != NULL || notify->telling_name) && !notify->stop &&
           pthread_cond_timedwait(&notify->told, &notify->lock, &until) == 0)
        ;
    pthread_mutex_unlock(&notify->lock);
}
