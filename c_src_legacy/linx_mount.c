/* Reference NIFs of Linx.Mount.Native: mount, umount and pivot_root in another mount namespace. */

#define _GNU_SOURCE

#include <erl_nif.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum stage {
    THREAD, UNSHARE, OPEN_NS, SETNS, CREATE, OPEN_PIDNS, SETNS_PID, PIPE, FORK, MOUNT, UMOUNT,
    CHDIR, PIVOT_ROOT, STAGES
};

static const char *const stage_names[STAGES] = {
    "thread", "unshare", "open_ns", "setns", "create", "open_pidns", "setns_pid", "pipe", "fork",
    "mount", "umount", "chdir", "pivot_root"
};

static struct {
    int number;
    const char *name;
    ERL_NIF_TERM atom;
} errnos[] = {
    {EACCES, "eacces", 0},
    {EAGAIN, "eagain", 0},
    {EBADF, "ebadf", 0},
    {EBUSY, "ebusy", 0},
    {EFAULT, "efault", 0},
    {EINVAL, "einval", 0},
    {ELOOP, "eloop", 0},
    {EMFILE, "emfile", 0},
    {ENAMETOOLONG, "enametoolong", 0},
    {ENODEV, "enodev", 0},
    {ENOENT, "enoent", 0},
    {ENOMEM, "enomem", 0},
    {ENOTBLK, "enotblk", 0},
    {ENOTDIR, "enotdir", 0},
    {ENXIO, "enxio", 0},
    {EOPNOTSUPP, "eopnotsupp", 0},
    {EPERM, "eperm", 0},
    {EROFS, "erofs", 0},
    {ESRCH, "esrch", 0},
};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static ERL_NIF_TERM stage_atoms[STAGES];
static ERL_NIF_TERM atom_ok;
static ERL_NIF_TERM atom_error;

/* error 0: it worked, whatever the stage. */
struct outcome {
    enum stage stage;
    int error;
};

struct call {
    struct outcome (*work)(const struct call *call);
    const char *source;   /* new_root of pivot_root */
    const char *target;   /* put_old of pivot_root */
    const char *fstype;
    const char *data;
    const char *ns_path;
    const char *pidns_path;
    unsigned long flags;
    int create_target;
};

struct job {
    const struct call *call;
    struct outcome outcome;
};

/* ---- system calls ---- */

static struct outcome outcome_of(enum stage stage, int returned)
{
    return (struct outcome){stage, returned == -1 ? errno : 0};
}

static struct outcome enter(const char *path, int type, enum stage open_stage,
                            enum stage setns_stage)
{
    int ns = open(path, O_RDONLY | O_CLOEXEC);
    if (ns == -1)
        return outcome_of(open_stage, -1);

    struct outcome outcome = outcome_of(setns_stage, setns(ns, type));
    close(ns);
    return outcome;
}

/* Without O_NONBLOCK a FIFO would hold the open until someone writes. Where there is something that
 * cannot be opened so (a directory, a socket, a device node on a nodev mount), nothing has to be
 * made. */
static struct outcome create_if_missing(const char *target)
{
    struct stat there;
    int fd = open(target, O_RDONLY | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0644);
    struct outcome outcome = outcome_of(CREATE, fd);

    if (fd != -1)
        close(fd);
    else if (stat(target, &there) == 0)
        outcome.error = 0;
    return outcome;
}

static const char *null_if_empty(const char *string)
{
    return *string == '\0' ? NULL : string;
}

static struct outcome mount_here(const struct call *call)
{
    return outcome_of(MOUNT, mount(null_if_empty(call->source), call->target,
                                   null_if_empty(call->fstype), call->flags,
                                   null_if_empty(call->data)));
}

/* A copy of a VM with many threads: system calls only from here to _exit. */
static _Noreturn void mount_in_child(const struct call *call, int result)
{
    int error = mount_here(call).error;
    ssize_t written = write(result, &error, sizeof error);
    _exit(written == sizeof error ? 0 : 1);
}

/* The pipe says what became of the mount, not the exit status: whoever ignores SIGCHLD in the VM
 * makes the status go away. A child that was killed wrote nothing: EIO. */
static int result_of_child(pid_t child, int result)
{
    int error;
    ssize_t got;

    do
        got = read(result, &error, sizeof error);
    while (got == -1 && errno == EINTR);
    while (waitpid(child, NULL, 0) == -1 && errno == EINTR)
        ;
    return got == sizeof error ? error : EIO;
}

/* setns(CLONE_NEWPID) moves only the children of the one who calls it. */
static struct outcome mount_by_child(const struct call *call)
{
    int ends[2];
    if (pipe(ends) == -1)
        return outcome_of(PIPE, -1);

    pid_t child = fork();
    if (child == 0)
        mount_in_child(call, ends[1]);

    struct outcome outcome = outcome_of(FORK, child);
    close(ends[1]);
    if (child != -1)
        outcome = (struct outcome){MOUNT, result_of_child(child, ends[0])};
    close(ends[0]);
    return outcome;
}

static struct outcome do_mount(const struct call *call)
{
    struct outcome outcome = {CREATE, 0};

    if (call->create_target)
        outcome = create_if_missing(call->target);
    if (outcome.error != 0)
        return outcome;
    if (*call->ns_path == '\0' || *call->pidns_path == '\0')
        return mount_here(call);

    outcome = enter(call->pidns_path, CLONE_NEWPID, OPEN_PIDNS, SETNS_PID);
    return outcome.error != 0 ? outcome : mount_by_child(call);
}

static struct outcome do_umount(const struct call *call)
{
    return outcome_of(UMOUNT, umount2(call->target, (int)call->flags));
}

static struct outcome do_pivot_root(const struct call *call)
{
    if (chdir(call->source) == -1)
        return outcome_of(CHDIR, -1);
    return outcome_of(PIVOT_ROOT, (int)syscall(SYS_pivot_root, call->source, call->target));
}

/* ---- the thread ---- */

/* setns(CLONE_NEWNS) refuses a thread that shares its root and working directory, and a chdir
 * must not be the VM's: hence CLONE_FS. */
static void *moved_thread(void *argument)
{
    struct job *job = argument;
    const char *ns_path = job->call->ns_path;

    job->outcome = outcome_of(UNSHARE, unshare(CLONE_FS));
    if (job->outcome.error == 0 && *ns_path != '\0')
        job->outcome = enter(ns_path, CLONE_NEWNS, OPEN_NS, SETNS);
    if (job->outcome.error == 0)
        job->outcome = job->call->work(job->call);
    return NULL;
}

/* setns(2) moves the thread that calls it, and a scheduler must stay where it is: the thread is
 * never moved back, it ends. */
static struct outcome run_on_thread(const struct call *call)
{
    struct job job = {.call = call};
    ErlNifTid tid;
    int refused = enif_thread_create("linx_mount", &tid, moved_thread, &job, NULL);

    if (refused != 0)
        return (struct outcome){THREAD, refused};
    enif_thread_join(tid, NULL);
    return job.outcome;
}

static struct outcome run_where_due(const struct call *call)
{
    return *call->ns_path == '\0' ? call->work(call) : run_on_thread(call);
}

/* ---- terms ---- */

static ERL_NIF_TERM errno_term(ErlNifEnv *env, int error)
{
    for (size_t i = 0; i < LENGTH(errnos); i++)
        if (errnos[i].number == error)
            return errnos[i].atom;
    return enif_make_int(env, error);
}

static ERL_NIF_TERM outcome_term(ErlNifEnv *env, struct outcome outcome)
{
    if (outcome.error == 0)
        return atom_ok;
    ERL_NIF_TERM reason = enif_make_tuple2(env, stage_atoms[outcome.stage],
                                           errno_term(env, outcome.error));
    return enif_make_tuple2(env, atom_error, reason);
}

/* One argument that is a binary, and where its C string is to be put. */
struct string {
    ERL_NIF_TERM term;
    const char **place;
    ErlNifBinary binary;
};

/* All strings in one block, for the caller to free; without one, *exception is what to return. */
static char *read_strings(ErlNifEnv *env, struct string *strings, size_t count,
                          ERL_NIF_TERM *exception)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        if (!enif_inspect_binary(env, strings[i].term, &strings[i].binary)) {
            *exception = enif_make_badarg(env);
            return NULL;
        }
        size += strings[i].binary.size + 1;
    }

    char *block = enif_alloc(size);
    if (block == NULL) {
        *exception = enif_raise_exception(env, errno_term(env, ENOMEM));
        return NULL;
    }
    char *next = block;
    for (size_t i = 0; i < count; i++) {
        *strings[i].place = next;
        memcpy(next, strings[i].binary.data, strings[i].binary.size);
        next += strings[i].binary.size;
        *next++ = '\0';
    }
    return block;
}

static ERL_NIF_TERM run(ErlNifEnv *env, struct call *call, struct string *strings, size_t count,
                        struct outcome (*runner)(const struct call *call))
{
    ERL_NIF_TERM exception;
    char *block = read_strings(env, strings, count, &exception);
    if (block == NULL)
        return exception;

    struct outcome outcome = runner(call);
    enif_free(block);
    return outcome_term(env, outcome);
}

static ERL_NIF_TERM nif_version(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    (void)argv;

    return enif_make_string(env, "linx_mount", ERL_NIF_LATIN1);
}

static ERL_NIF_TERM nif_mount(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct call call = {.work = do_mount};
    struct string strings[] = {
        {.term = argv[0], .place = &call.source},
        {.term = argv[1], .place = &call.target},
        {.term = argv[2], .place = &call.fstype},
        {.term = argv[4], .place = &call.data},
        {.term = argv[5], .place = &call.ns_path},
        {.term = argv[6], .place = &call.pidns_path},
    };
    ErlNifUInt64 flags;
    (void)argc;

    if (!enif_get_uint64(env, argv[3], &flags) ||
        !enif_get_int(env, argv[7], &call.create_target))
        return enif_make_badarg(env);
    call.flags = flags;
    return run(env, &call, strings, LENGTH(strings), run_where_due);
}

static ERL_NIF_TERM nif_umount(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct call call = {.work = do_umount};
    struct string strings[] = {
        {.term = argv[0], .place = &call.target},
        {.term = argv[2], .place = &call.ns_path},
    };
    int flags;
    (void)argc;

    if (!enif_get_int(env, argv[1], &flags))
        return enif_make_badarg(env);
    call.flags = (unsigned int)flags;
    return run(env, &call, strings, LENGTH(strings), run_where_due);
}

static ERL_NIF_TERM nif_pivot_root(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct call call = {.work = do_pivot_root};
    struct string strings[] = {
        {.term = argv[0], .place = &call.source},
        {.term = argv[1], .place = &call.target},
        {.term = argv[2], .place = &call.ns_path},
    };
    (void)argc;

    return run(env, &call, strings, LENGTH(strings), run_on_thread);
}

static int load(ErlNifEnv *env, void **private_data, ERL_NIF_TERM load_info)
{
    (void)private_data;
    (void)load_info;

    atom_ok = enif_make_atom(env, "ok");
    atom_error = enif_make_atom(env, "error");
    for (size_t i = 0; i < STAGES; i++)
        stage_atoms[i] = enif_make_atom(env, stage_names[i]);
    for (size_t i = 0; i < LENGTH(errnos); i++)
        errnos[i].atom = enif_make_atom(env, errnos[i].name);
    return 0;
}

static ErlNifFunc functions[] = {
    {"version", 0, nif_version, 0},
    {"mount", 8, nif_mount, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"umount", 3, nif_umount, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"pivot_root", 3, nif_pivot_root, ERL_NIF_DIRTY_JOB_IO_BOUND},
};

ERL_NIF_INIT(Elixir.Linx.Mount.Native, functions, load, NULL, NULL, NULL)
