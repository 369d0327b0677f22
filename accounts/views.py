"""Signing in and out, one-time links, forgotten passwords."""

from collections.abc import Callable

from django.contrib import messages
from django.contrib.auth import authenticate, login, logout, update_session_auth_hash
from django.contrib.auth.decorators import login_not_required
from django.core.mail import send_mail
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render, resolve_url
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from accounts import actions, audit, throttle
from accounts.first_start import looks_after_server
from accounts.forms import Forgotten, Join, NewPassword, NewProject, SignIn, Welcome
from accounts.mail import sends_mail
from accounts.models import OneTimeLink, Project, User

BACKEND = "django.contrib.auth.backends.ModelBackend"


@login_not_required
@never_cache
@sensitive_post_parameters("password")
def sign_in(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated and request.method != "POST":
        return redirect(_next(request))
    form = SignIn(request.POST or None)
    status = 200
    if form.is_valid():
        email = form.cleaned_data["email"].lower()
        if throttle.is_blocked(request, email):
            form.add_error(None, "Too many wrong passwords. Wait ten minutes, or ask an owner for a reset link.")
            status = 429
        elif user := authenticate(request, username=email, password=form.cleaned_data["password"]):
            throttle.forget_failures(request, email)
            login(request, user)
            audit.tell(request, project=Project.objects.of(user).first())
            return redirect(_next(request))
        else:
            throttle.record_failure(request, email)
            _tell_of_failure(request, email)
            form.add_error(None, "This e-mail and password do not belong together.")
            status = 422
    return render(request, "accounts/sign_in.html", {"form": form, "next": _next(request)}, status=status)


def _tell_of_failure(request: HttpRequest, email: str) -> None:
    """The e-mail only where somebody has it: people type passwords into that field, too."""
    known = User.objects.filter(email=email).first()
    words = f"sign in as {known.email}" if known else "sign in with an e-mail that nobody here has"
    audit.tell(request, words, refused="wrong_password", project=known and Project.objects.of(known).first())


def _next(request: HttpRequest) -> str:
    """Where to go after signing in: an address of this site only."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    safe = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if safe else resolve_url("overview")


@login_not_required
@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return redirect("sign-in")


@login_not_required
@never_cache
def one_time_link(request: HttpRequest, token: str) -> HttpResponse:
    """What the link was made for; a used, expired or unknown one says so and what to do."""
    link = OneTimeLink.find(token)
    if link is None:
        return render(request, "accounts/link_gone.html", status=410)
    follow: Callable[[HttpRequest, OneTimeLink], HttpResponse] = {
        OneTimeLink.Kind.SIGN_IN.value: _sign_in_by_link,
        OneTimeLink.Kind.INVITE.value: _join,
        OneTimeLink.Kind.RESET.value: _reset,
    }[link.kind]
    return follow(request, link)


def _sign_in_by_link(request: HttpRequest, link: OneTimeLink) -> HttpResponse:
    if request.method == "HEAD":
        return HttpResponse()  # a program that looks at links must not use them up
    if not link.user or not link.user.is_active or not actions.use_link(link):
        return render(request, "accounts/link_gone.html", status=410)
    login(request, link.user, backend=BACKEND)
    audit.tell(request, "sign in with a one-time link", project=Project.objects.of(link.user).first())
    return redirect("overview" if link.user.has_usable_password() else "welcome")


@sensitive_post_parameters("password")
def _join(request: HttpRequest, link: OneTimeLink) -> HttpResponse:
    """A signed-in person joins with one press; somebody new makes an account."""
    if request.user.is_authenticated:
        if request.method == "POST":
            membership = actions.join(link=link, user=request.user)
            return _joined(request, link.project) if membership else redirect(request.path)
        return render(request, "accounts/join.html", {"link": link})
    form = Join(request.POST or None, initial={"email": link.email})
    if form.is_valid():
        user = actions.join_as_new_person(link=link, **form.cleaned_data)
        if user is None:
            return redirect(request.path)
        login(request, user, backend=BACKEND)
        return _joined(request, link.project)
    return render(request, "accounts/join.html", {"link": link, "form": form}, status=422 if form.errors else 200)


def _joined(request: HttpRequest, project: Project | None) -> HttpResponse:
    assert project
    audit.tell(request, "join the project by an invitation", project=project)
    request.session["project"] = project.pk
    messages.success(request, f"You are now in {project}.")
    return redirect("overview")


@sensitive_post_parameters("password")
def _reset(request: HttpRequest, link: OneTimeLink) -> HttpResponse:
    form = NewPassword(request.POST or None, user=link.user)
    if form.is_valid() and link.user and link.user.is_active:
        if not actions.use_link(link):
            return redirect(request.path)
        actions.set_password(user=link.user, password=form.cleaned_data["password"])
        login(request, link.user, backend=BACKEND)
        audit.tell(request, "set a new password by a link", project=Project.objects.of(link.user).first())
        messages.success(request, "Your new password is set.")
        return redirect("overview")
    return render(request, "accounts/reset.html", {"link": link, "form": form}, status=422 if form.errors else 200)


@never_cache
@sensitive_post_parameters("password")
def welcome(request: HttpRequest) -> HttpResponse:
    """The first owner chooses e-mail and password, or skips it."""
    user = request.user
    assert isinstance(user, User)
    if user.has_usable_password():
        return redirect("overview")
    form = Welcome(request.POST or None, user=user)
    if form.is_valid():
        user.email, user.name = form.cleaned_data["email"], form.cleaned_data["name"]
        user.save(update_fields=["email", "name"])
        actions.set_password(user=user, password=form.cleaned_data["password"])
        update_session_auth_hash(request, user)
        return redirect("overview")
    return render(request, "accounts/welcome.html", {"form": form}, status=422 if form.errors else 200)


@login_not_required
@never_cache
def forgotten_password(request: HttpRequest) -> HttpResponse:
    """Sends a reset link; the answer is the same whether somebody has this e-mail or not."""
    form = Forgotten(request.POST or None)
    sent = False
    if sends_mail() and form.is_valid():
        sent = True
        user = User.objects.filter(email=form.cleaned_data["email"].lower(), is_active=True).first()
        audit.tell(request, project=user and Project.objects.of(user).first())
        if user and not throttle.is_blocked(request, f"reset {user.email}"):
            throttle.record_failure(request, f"reset {user.email}")
            _send_reset(request, user)
    return render(request, "accounts/forgotten.html", {"form": form, "sent": sent, "sends_mail": sends_mail()})


def _send_reset(request: HttpRequest, user: User) -> None:
    address = request.build_absolute_uri(reverse("link", args=[actions.reset_link(user=user)]))
    text = (
        f"Set a new password for Hone here; the link works once, for 24 hours:\n\n{address}\n\n"
        "Did you not ask for it? Then do nothing.\n"
    )
    send_mail("Your new password for Hone", text, None, [user.email], fail_silently=True)


@require_POST
def choose_project(request: HttpRequest) -> HttpResponse:
    project = get_object_or_404(Project.objects.of(request.user), pk=request.POST.get("project", ""))  # type: ignore[arg-type]
    request.session["project"] = project.pk
    return redirect("overview")


def new_project(request: HttpRequest) -> HttpResponse:
    """For whoever looks after the server, also when they belong to no project any more."""
    assert isinstance(request.user, User)
    if not looks_after_server(request.user):
        words = "New projects are made by whoever looks after this server. Ask them for one, and for an invitation."
        return render(request, "403.html", {"reason_for_people": words}, status=403)
    form = NewProject(request.POST or None)
    if form.is_valid():
        project = actions.begin_project(user=request.user, name=form.cleaned_data["name"])
        request.session["project"] = project.pk
        messages.success(request, f"{project} is ready. Invite its people under Settings, People.")
        return redirect("overview")
    return render(request, "accounts/new_project.html", {"form": form}, status=422 if form.errors else 200)
