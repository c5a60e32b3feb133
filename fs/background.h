/* Going into the background: the caller's process waits until the daemon is mounted and ends with an exit code that
 * tells the truth; the daemon goes on as its child, in a session of its own. */
#ifndef TFS_BACKGROUND_H
#define TFS_BACKGROUND_H

/* Forks, before any thread is started. Returns in the child only: a descriptor for tfs_background_ready, or
 * -errno (in the only process). The parent exits, with 0 once the child is ready, else with the child's code. */
int tfs_background_start(void);
/* Lets the parent go, with 0, and leaves the terminal. */
void tfs_background_ready(int descriptor);

#endif
