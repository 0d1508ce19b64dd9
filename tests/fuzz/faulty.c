/* Faults of a disk and a clock, for a program that is started with this library
 * preloaded. The environment says which:
 *
 *   FAULT_OP     open, read, write, fsync, rename, unlink or clock
 *   FAULT_PATH   a part of the path
 *   FAULT_FROM   the first of these calls that fails, from 0
 *   FAULT_COUNT  how many fail
 *   FAULT_ERRNO  with what; 0: reads and writes are short, -1: slow
 *   FAULT_SKEW   seconds that the clock is wrong, for `clock`
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static int calls = 0;

static int number(const char *name) {
  const char *x = getenv(name);
  return x ? atoi(x) : 0;
}

static int is_op(const char *op) {
  const char *x = getenv("FAULT_OP");
  return x && !strcmp(x, op);
}

/* Whether this call is one of those that fail. */
static int hit(const char *op, const char *path) {
  const char *part = getenv("FAULT_PATH");
  if (!is_op(op) || !path || !part || !strstr(path, part)) return 0;
  int nth = __sync_fetch_and_add(&calls, 1);
  int first = number("FAULT_FROM");
  if (nth < first || nth >= first + number("FAULT_COUNT")) return 0;
  if (getenv("FAULT_LOG")) {
    FILE *log = fopen(getenv("FAULT_LOG"), "a");
    if (log) { fprintf(log, "%s %s\n", op, path); fclose(log); }
  }
  return 1;
}

static int hit_file(const char *op, int fd) {
  char link[64], path[4096];
  if (!is_op(op)) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0) return 0;
  path[n] = 0;
  return hit(op, path);
}

#define REAL(type, name, args) \
  static type(*real) args = 0; \
  if (!real) real = (type(*) args)dlsym(RTLD_NEXT, name)

static int fails(void) {
  int code = number("FAULT_ERRNO");
  if (code > 0) { errno = code; return 1; }
  if (code < 0) usleep(300000);
  return 0;
}

static size_t less(size_t n) {
  return number("FAULT_ERRNO") == 0 && n > 1 ? n / 2 : n;
}

#define OPEN(name)                                              \
  int name(const char *path, int flags, ...) {                  \
    va_list list;                                               \
    va_start(list, flags);                                      \
    mode_t mode = va_arg(list, mode_t);                         \
    va_end(list);                                               \
    REAL(int, #name, (const char *, int, mode_t));              \
    if (hit("open", path) && fails()) return -1;                \
    return real(path, flags, mode);                             \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                            \
  int name(int at, const char *path, int flags, ...) {          \
    va_list list;                                               \
    va_start(list, flags);                                      \
    mode_t mode = va_arg(list, mode_t);                         \
    va_end(list);                                               \
    REAL(int, #name, (int, const char *, int, mode_t));         \
    if (hit("open", path) && fails()) return -1;                \
    return real(at, path, flags, mode);                         \
  }
OPENAT(openat)
OPENAT(openat64)

ssize_t read(int fd, void *to, size_t n) {
  REAL(ssize_t, "read", (int, void *, size_t));
  if (hit_file("read", fd)) { if (fails()) return -1; n = less(n); }
  return real(fd, to, n);
}

ssize_t write(int fd, const void *from, size_t n) {
  REAL(ssize_t, "write", (int, const void *, size_t));
  if (hit_file("write", fd)) { if (fails()) return -1; n = less(n); }
  return real(fd, from, n);
}

#define PREAD(name, offset)                                     \
  ssize_t name(int fd, void *to, size_t n, offset at) {         \
    REAL(ssize_t, #name, (int, void *, size_t, offset));        \
    if (hit_file("read", fd)) { if (fails()) return -1; n = less(n); } \
    return real(fd, to, n, at);                                 \
  }
PREAD(pread, off_t)
PREAD(pread64, off64_t)

int fsync(int fd) {
  REAL(int, "fsync", (int));
  if (hit_file("fsync", fd) && fails()) return -1;
  return real(fd);
}

int rename(const char *from, const char *to) {
  REAL(int, "rename", (const char *, const char *));
  if (hit("rename", from) && fails()) return -1;
  return real(from, to);
}

int unlink(const char *path) {
  REAL(int, "unlink", (const char *));
  if (hit("unlink", path) && fails()) return -1;
  return real(path);
}

int clock_gettime(clockid_t id, struct timespec *to) {
  REAL(int, "clock_gettime", (clockid_t, struct timespec *));
  int code = real(id, to);
  if (!code && id == CLOCK_REALTIME && is_op("clock")) {
    to->tv_sec += number("FAULT_SKEW");
  }
  return code;
}

int gettimeofday(struct timeval *to, void *zone) {
  REAL(int, "gettimeofday", (struct timeval *, void *));
  int code = real(to, zone);
  if (!code && is_op("clock")) to->tv_sec += number("FAULT_SKEW");
  return code;
}

time_t time(time_t *to) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (to) *to = now.tv_sec;
  return now.tv_sec;
}
