defmodule LinxNative.Errno do
  @moduledoc """
  Maps error numbers of Linux to their names, and back.
  """

  alias LinxNative.Names

  # In the order of their numbers from 1 on, as in asm-generic/errno.h, which x86, ARM and RISC-V use. Linux has no names for
  # 41 and 58.
  @names ~w(
    eperm enoent esrch eintr eio enxio e2big enoexec ebadf echild eagain enomem eacces efault enotblk ebusy eexist
    exdev enodev enotdir eisdir einval enfile emfile enotty etxtbsy efbig enospc espipe erofs emlink epipe edom
    erange edeadlk enametoolong enolck enosys enotempty eloop _ enomsg eidrm echrng el2nsync el3hlt el3rst elnrng
    eunatch enocsi el2hlt ebade ebadr exfull enoano ebadrqc ebadslt _ ebfont enostr enodata etime enosr enonet
    enopkg eremote enolink eadv esrmnt ecomm eproto emultihop edotdot ebadmsg eoverflow enotuniq ebadfd eremchg
    elibacc elibbad elibscn elibmax elibexec eilseq erestart estrpipe eusers enotsock edestaddrreq emsgsize
    eprototype enoprotoopt eprotonosupport esocktnosupport eopnotsupp epfnosupport eafnosupport eaddrinuse
    eaddrnotavail enetdown enetunreach enetreset econnaborted econnreset enobufs eisconn enotconn eshutdown
    etoomanyrefs etimedout econnrefused ehostdown ehostunreach ealready einprogress estale euclean enotnam enavail
    eisnam eremoteio edquot enomedium emediumtype ecanceled enokey ekeyexpired ekeyrevoked ekeyrejected eownerdead
    enotrecoverable erfkill ehwpoison
  )a

  # ENOTSUPP of linux/errno.h is meant for the kernel's own use, but netlink returns it.
  @beyond [enotsupp: 524]

  @numbers @names
           |> Enum.with_index(1)
           |> Enum.reject(&match?({:_, _number}, &1))
           |> Kernel.++(@beyond)
           |> Map.new()

  @typedoc "A name, for example `:enoent`, or the number if Linux has no name for it."
  @type t :: atom | pos_integer

  @doc """
  Returns the name of an error number.

      iex> LinxNative.Errno.name(2)
      :enoent
  """
  @spec name(pos_integer) :: t
  for {name, number} <- @numbers, do: def(name(unquote(number)), do: unquote(name))
  def name(number), do: number

  @doc false
  @spec describe(pos_integer) :: String.t()
  def describe(number), do: number |> name() |> describe(number)

  defp describe(number, number), do: "errno #{number}"

  defp describe(name, number) do
    case List.to_string(:file.format_error(name)) do
      "unknown POSIX error" <> _ -> "#{name} (errno #{number})"
      words -> "#{words} (#{inspect(name)}, errno #{number})"
    end
  end

  @doc """
  Returns the number of a name; a number is returned as it is.

      iex> LinxNative.Errno.number!(:enoent)
      2

  A name that Linux does not have raises `ArgumentError`.
  """
  @spec number!(t) :: pos_integer
  def number!(number) when is_integer(number) and number > 0, do: number
  def number!(name), do: Names.fetch!(@numbers, name, "no errno")
end
