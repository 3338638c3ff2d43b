/* Reference NIFs of Linx.Netlink.Socket.Native: netlink sockets in another network namespace. */

#define _GNU_SOURCE

#include <erl_nif.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/netlink.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum stage { THREAD, OPEN, SETNS, SOCKET, STAGES };

static const char *const stage_names[STAGES] = {"thread", "open", "setns", "socket"};

static ERL_NIF_TERM stage_atoms[STAGES];
static ERL_NIF_TERM atom_ok;
static ERL_NIF_TERM atom_error;

struct job {
    char path[PATH_MAX];
    int protocol;
    int fd;
    enum stage stage;
    int error;
};

static void fail(struct job *job, enum stage stage, int error)
{
    job->stage = stage;
    job->error = error;
}

static void *open_on_thread(void *argument)
{
    struct job *job = argument;
    int ns = open(job->path, O_RDONLY | O_CLOEXEC);

    if (ns == -1) {
        fail(job, OPEN, errno);
        return NULL;
    }
    if (setns(ns, CLONE_NEWNET) == -1) {
        fail(job, SETNS, errno);
    } else {
        job->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, job->protocol);
        if (job->fd == -1)
            fail(job, SOCKET, errno);
    }
    close(ns);
    return NULL;
}

/* setns(2) moves the thread that calls it, and a scheduler must stay where it is: the thread is
 * never moved back, it ends. */
static void run_on_thread(struct job *job)
{
    ErlNifTid tid;
    int refused = enif_thread_create("linx_netlink", &tid, open_on_thread, job, NULL);

    if (refused != 0)
        fail(job, THREAD, refused);
    else
        enif_thread_join(tid, NULL);
}

static ERL_NIF_TERM stage_error(ErlNifEnv *env, enum stage stage, int error)
{
    ERL_NIF_TERM reason = enif_make_tuple2(env, stage_atoms[stage], enif_make_int(env, error));
    return enif_make_tuple2(env, atom_error, reason);
}

static ERL_NIF_TERM open_in_netns(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct job job = {.fd = -1};
    ErlNifBinary path;
    (void)argc;

    if (!enif_inspect_iolist_as_binary(env, argv[0], &path) ||
        !enif_get_int(env, argv[1], &job.protocol))
        return enif_make_badarg(env);
    if (path.size >= sizeof job.path)
        return stage_error(env, OPEN, ENAMETOOLONG);
    memcpy(job.path, path.data, path.size);

    run_on_thread(&job);
    if (job.error != 0)
        return stage_error(env, job.stage, job.error);
    return enif_make_tuple2(env, atom_ok, enif_make_int(env, job.fd));
}

static ERL_NIF_TERM close_fd(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    int fd;
    (void)argc;

    if (!enif_get_int(env, argv[0], &fd))
        return enif_make_badarg(env);
    close(fd);
    return atom_ok;
}

static ERL_NIF_TERM bind_netlink(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    unsigned int groups;
    int fd;
    (void)argc;

    if (!enif_get_int(env, argv[0], &fd) || !enif_get_uint(env, argv[1], &groups))
        return enif_make_badarg(env);
    address.nl_groups = groups;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == -1)
        return enif_make_tuple2(env, atom_error, enif_make_int(env, errno));
    return atom_ok;
}

static int load(ErlNifEnv *env, void **private_data, ERL_NIF_TERM load_info)
{
    (void)private_data;
    (void)load_info;

    atom_ok = enif_make_atom(env, "ok");
    atom_error = enif_make_atom(env, "error");
    for (int i = 0; i < STAGES; i++)
        stage_atoms[i] = enif_make_atom(env, stage_names[i]);
    return 0;
}

static ErlNifFunc functions[] = {
    {"open_in_netns", 2, open_in_netns, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"close_fd", 1, close_fd, 0},
    {"bind_netlink", 2, bind_netlink, 0},
};

ERL_NIF_INIT(Elixir.Linx.Netlink.Socket.Native, functions, load, NULL, NULL, NULL)
