/* Makes system calls fail, or kills the process at one of them: LD_PRELOAD this, then call fault_arm.

   Only calls on regular files are counted, so that pipes and the terminal keep working. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, RENAME = 4, LINK = 8, UNLINK = 16, KINDS = 17 };

static int kinds, error, stays;
static long nth, seconds_back;
static atomic_long struck;
static atomic_long *seen; /* by kind, in memory that a forked child shares with its parent */

__attribute__((constructor)) static void share(void) {
  seen = mmap(NULL, KINDS * sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* From now on the n-th call of these kinds fails with the error, and all later ones if it stays; error 0 kills. */
void fault_arm(int which, long n, int with, int for_good) {
  kinds = which, nth = n, error = with, stays = for_good, struck = 0;
  for (int kind = 0; kind < KINDS; kind++) seen[kind] = 0;
}

void fault_disarm(void) { nth = 0, seconds_back = 0; }

/* How many calls of a kind there were since the last fault_arm, also in a child. */
long fault_seen(int kind) { return seen[kind]; }

void fault_clock_back(long seconds) { seconds_back = seconds; }

static int strikes(int kind) {
  atomic_fetch_add(&seen[kind], 1);
  if (!(kinds & kind)) return 0;
  long now = atomic_fetch_add(&struck, 1) + 1;
  if (nth <= 0 || now < nth || (now > nth && !stays)) return 0;
  if (!error) kill(getpid(), SIGKILL);
  errno = error;
  return 1;
}

/* Not what the program says: that goes to a pipe or a terminal, which is never full. */
static int is_file(int fd) {
  if (fd <= 2) return 0;
  struct stat facts;
  int before = errno, answer = fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode);
  errno = before;
  return answer;
}

#define NEXT(name) \
  static __typeof__(name) *next; \
  if (!next) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size) {
  NEXT(write);
  return is_file(fd) && strikes(WRITE) ? -1 : next(fd, data, size);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  NEXT(pwrite64);
  return is_file(fd) && strikes(WRITE) ? -1 : next(fd, data, size, at);
}
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags) {
  NEXT(copy_file_range);
  return strikes(WRITE) ? -1 : next(in, from, out, to, size, flags);
}
ssize_t sendfile64(int out, int in, off64_t *from, size_t size) {
  NEXT(sendfile64);
  return is_file(out) && strikes(WRITE) ? -1 : next(out, in, from, size);
}
int fsync(int fd) {
  NEXT(fsync);
  return strikes(SYNC) ? -1 : next(fd);
}
int fdatasync(int fd) {
  NEXT(fdatasync);
  return strikes(SYNC) ? -1 : next(fd);
}
int rename(const char *from, const char *to) {
  NEXT(rename);
  return strikes(RENAME) ? -1 : next(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
  NEXT(renameat);
  return strikes(RENAME) ? -1 : next(a, from, b, to);
}
int link(const char *from, const char *to) {
  NEXT(link);
  return strikes(LINK) ? -1 : next(from, to);
}
int linkat(int a, const char *from, int b, const char *to, int flags) {
  NEXT(linkat);
  return strikes(LINK) ? -1 : next(a, from, b, to, flags);
}
int symlink(const char *target, const char *name) {
  NEXT(symlink);
  return strikes(LINK) ? -1 : next(target, name);
}
int symlinkat(const char *target, int folder, const char *name) {
  NEXT(symlinkat);
  return strikes(LINK) ? -1 : next(target, folder, name);
}
int unlink(const char *name) {
  NEXT(unlink);
  return strikes(UNLINK) ? -1 : next(name);
}
int unlinkat(int folder, const char *name, int flags) {
  NEXT(unlinkat);
  return strikes(UNLINK) ? -1 : next(folder, name, flags);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
  NEXT(clock_gettime);
  int answer = next(clock, now);
  if (!answer && clock == CLOCK_REALTIME) now->tv_sec -= seconds_back;
  return answer;
}
