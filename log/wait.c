#include "log/wait.h"

#include <pthread.h>
#include <stdbool.h>

struct blocked {
    struct tlog_waiter waiter;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
    int result;
};

static void wake(struct tlog_waiter *waiter, int result)
{
    struct blocked *blocked = (struct blocked *)waiter;
    pthread_mutex_lock(&blocked->lock);
    blocked->result = result;
    blocked->done = true;
    pthread_cond_signal(&blocked->cond);
    pthread_mutex_unlock(&blocked->lock);
}

int tlog_wait(void (*start)(void *arg, struct tlog_waiter *waiter), void *arg)
{
    struct blocked blocked = {
        .waiter = {.done = wake}, .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    start(arg, &blocked.waiter);
    pthread_mutex_lock(&blocked.lock);
    while (!blocked.done)
        pthread_cond_wait(&blocked.cond, &blocked.lock);
    pthread_mutex_unlock(&blocked.lock);
    return blocked.result;
}
