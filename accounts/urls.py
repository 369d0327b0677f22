"""Addresses of the accounts pages."""

from django.urls import path

from accounts import views

urlpatterns = [
    path("sign-in/", views.sign_in, name="sign-in"),
    path("sign-out/", views.sign_out, name="sign-out"),
    path("forgotten-password/", views.forgotten_password, name="forgotten-password"),
    path("link/<str:token>/", views.one_time_link, name="link"),
    path("welcome/", views.welcome, name="welcome"),
    path("project/new/", views.new_project, name="new-project"),
    path("project/", views.choose_project, name="choose-project"),
]
